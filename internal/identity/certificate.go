package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

// FromCertificate reads the identity of a leaf certificate: exactly one URI,
// of a known form, both key usages (client and server), and no authority. It
// does not check the signature or the time.
func FromCertificate(c *x509.Certificate) (ID, error) {
	switch {
	case c == nil:
		return ID{}, errors.New("no certificate")
	case c.IsCA:
		return ID{}, errors.New("the certificate is an authority's")
	case len(c.URIs) != 1:
		return ID{}, fmt.Errorf("the certificate has %d URIs, want exactly one", len(c.URIs))
	}
	for _, want := range []struct {
		usage x509.ExtKeyUsage
		name  string
	}{{x509.ExtKeyUsageClientAuth, "client"}, {x509.ExtKeyUsageServerAuth, "server"}} {
		if !slices.Contains(c.ExtKeyUsage, want.usage) {
			return ID{}, fmt.Errorf("the certificate may not be used as a %s", want.name)
		}
	}
	return Parse(c.URIs[0].String())
}

// uriOf names a certificate in logs, however odd it is.
func uriOf(c *x509.Certificate) string {
	if c == nil {
		return ""
	}
	if len(c.URIs) == 0 {
		return c.Subject.String()
	}
	uri := c.URIs[0].String()
	return uri[:min(len(uri), 256)]
}
