package identity

import (
	"bytes"
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"time"
)

// Files are the paths of one identity, all in PEM. Cert may hold intermediate
// certificates after the leaf; CA may hold several authorities, so that one
// can be replaced by another with overlap.
type Files struct {
	Cert, Key, CA string
}

// material is what the files held at one reading. Immutable.
type material struct {
	id    ID
	cert  tls.Certificate
	leaf  *x509.Certificate
	roots *x509.CertPool
}

// read loads the files and checks that they belong together. An expired
// certificate is no error: a node whose certificate ran out still serves its
// own host, and its peers refuse it by name.
func (f Files) read() (*material, error) {
	var errs []error
	certs, err := readCerts(f.Cert)
	errs = append(errs, err)
	key, err := readKey(f.Key)
	errs = append(errs, err)
	authorities, err := readCerts(f.CA)
	errs = append(errs, err)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	leaf := certs[0]
	m := &material{leaf: leaf, roots: x509.NewCertPool()}
	m.cert = tls.Certificate{PrivateKey: key, Leaf: leaf}
	for _, c := range certs {
		m.cert.Certificate = append(m.cert.Certificate, c.Raw)
	}
	for _, c := range authorities {
		m.roots.AddCert(c)
	}
	if m.id, err = FromCertificate(leaf); err != nil {
		errs = append(errs, fmt.Errorf("%s: %w", f.Cert, err))
	}
	if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(leaf.PublicKey) {
		errs = append(errs, fmt.Errorf("the key in %s does not belong to the certificate in %s", f.Key, f.Cert))
	}
	if err := m.verify(certs, x509.ExtKeyUsageAny); err != nil && !isTime(err) {
		errs = append(errs, fmt.Errorf("the certificate in %s is not of an authority in %s: %w", f.Cert, f.CA, err))
	}
	return m, errors.Join(errs...)
}

// verify checks the chain of certs[0] as of now.
func (m *material) verify(certs []*x509.Certificate, usage x509.ExtKeyUsage) error {
	between := x509.NewCertPool()
	for _, c := range certs[1:] {
		between.AddCert(c)
	}
	_, err := certs[0].Verify(x509.VerifyOptions{
		Roots: m.roots, Intermediates: between, CurrentTime: time.Now(), KeyUsages: []x509.ExtKeyUsage{usage},
	})
	return err
}

// isTime reports whether a chain failed only by its time.
func isTime(err error) bool {
	invalid, ok := errors.AsType[x509.CertificateInvalidError](err)
	return ok && invalid.Reason == x509.Expired
}

// stamp tells one state of the files from another without reading them.
func (f Files) stamp() string {
	var b bytes.Buffer
	for _, path := range []string{f.Cert, f.Key, f.CA} {
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&b, "%v;", err)
			continue
		}
		fmt.Fprintf(&b, "%d %d;", info.ModTime().UnixNano(), info.Size())
	}
	return b.String()
}

func readCerts(path string) ([]*x509.Certificate, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read certificates: %w", err)
	}
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("read certificates of %s: %w", path, err)
		}
		out = append(out, c)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("read certificates: %s holds none in PEM", path)
	}
	return out, nil
}

func readKey(path string) (crypto.Signer, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read key: %w", err)
	}
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			return nil, fmt.Errorf("read key: %s holds no private key in PEM", path)
		}
		var key any
		switch block.Type {
		case "PRIVATE KEY":
			key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
		case "EC PRIVATE KEY":
			key, err = x509.ParseECPrivateKey(block.Bytes)
		case "RSA PRIVATE KEY":
			key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
		default:
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("read key of %s: %w", path, err)
		}
		signer, ok := key.(crypto.Signer)
		if !ok {
			return nil, fmt.Errorf("read key: the key in %s cannot sign", path)
		}
		return signer, nil
	}
}
