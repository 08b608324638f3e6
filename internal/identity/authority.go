package identity

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"

	"github.com/firebreak-dev/firebreak/internal/fleet"
)

// The files of an Authority in its directory.
const (
	AuthorityCert = "ca.pem"
	AuthorityKey  = "ca-key.pem"
)

const (
	authorityLife = 10 * 365 * 24 * time.Hour
	backdate      = 5 * time.Minute // clocks of a fleet differ
)

// Authority is a certificate authority of one fleet for development, tests and
// small installations: one ECDSA P-256 key in a file. Safe for concurrent use.
type Authority struct {
	fleet string
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
}

// NewAuthority makes an authority that is valid for ten years from now.
func NewAuthority(fleetName string, now time.Time) (*Authority, error) {
	if err := fleet.CheckFleet(fleetName); err != nil {
		return nil, fmt.Errorf("new authority: %w", err)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("new authority: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("new authority: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "Firebreak authority of " + fleetName, Organization: []string{fleetName}},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(authorityLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("new authority: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("new authority: %w", err)
	}
	return &Authority{fleet: fleetName, cert: cert, key: key}, nil
}

// Fleet is the only fleet that a issues for.
func (a *Authority) Fleet() string { return a.fleet }

// CertPEM is what goes into a CA file.
func (a *Authority) CertPEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Issue makes a certificate for id and the hosts (names or IP literals) that
// ordinary clients dial, valid from now for ttl.
func (a *Authority) Issue(id ID, hosts []string, ttl time.Duration) (certPEM, keyPEM []byte, err error) {
	now := time.Now()
	return a.IssueBetween(id, hosts, now.Add(-backdate), now.Add(ttl))
}

// IssueBetween is Issue with both ends of the validity. It never outlives the
// authority.
func (a *Authority) IssueBetween(id ID, hosts []string, from, to time.Time) (certPEM, keyPEM []byte, err error) {
	if err := id.Check(); err != nil {
		return nil, nil, fmt.Errorf("issue: %w", err)
	}
	if id.Fleet != a.fleet {
		return nil, nil, fmt.Errorf("issue: identity of fleet %q, the authority is of %q", id.Fleet, a.fleet)
	}
	if to.After(a.cert.NotAfter) {
		to = a.cert.NotAfter
	}
	uri, err := url.Parse(id.String())
	if err != nil {
		return nil, nil, fmt.Errorf("issue %v: %w", id, err)
	}
	template := &x509.Certificate{
		Subject:     pkix.Name{CommonName: id.Name},
		NotBefore:   from,
		NotAfter:    to,
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth},
		URIs:        []*url.URL{uri},
	}
	for _, h := range hosts {
		if ip := net.ParseIP(h); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, h)
		}
	}
	return a.sign(template)
}

// sign issues any template; the caller has checked it.
func (a *Authority) sign(template *x509.Certificate) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("issue: %w", err)
	}
	if template.SerialNumber, err = newSerial(); err != nil {
		return nil, nil, fmt.Errorf("issue: %w", err)
	}
	template.BasicConstraintsValid = true
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("issue: %w", err)
	}
	keyPEM, err = encodeKey(key)
	if err != nil {
		return nil, nil, fmt.Errorf("issue: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), keyPEM, nil
}

// Save writes the authority into dir, which it creates; files are readable by
// their owner only. It never overwrites another authority.
func (a *Authority) Save(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("save authority: %w", err)
	}
	for _, name := range []string{AuthorityCert, AuthorityKey} {
		if _, err := os.Lstat(filepath.Join(dir, name)); !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("save authority: %s is there already", filepath.Join(dir, name))
		}
	}
	key, err := encodeKey(a.key)
	if err != nil {
		return fmt.Errorf("save authority: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(dir, AuthorityKey), key, 0o600); err != nil {
		return fmt.Errorf("save authority: %w", err)
	}
	if err := renameio.WriteFile(filepath.Join(dir, AuthorityCert), a.CertPEM(), 0o600); err != nil {
		return fmt.Errorf("save authority: %w", err)
	}
	return nil
}

// LoadAuthority reads what Save wrote.
func LoadAuthority(dir string) (*Authority, error) {
	certs, err := readCerts(filepath.Join(dir, AuthorityCert))
	if err != nil {
		return nil, fmt.Errorf("load authority: %w", err)
	}
	key, err := readKey(filepath.Join(dir, AuthorityKey))
	if err != nil {
		return nil, fmt.Errorf("load authority: %w", err)
	}
	ec, ok := key.(*ecdsa.PrivateKey)
	cert := certs[0]
	switch {
	case !ok || !ec.PublicKey.Equal(cert.PublicKey):
		return nil, fmt.Errorf("load authority: the key in %s does not belong to the certificate", dir)
	case !cert.IsCA:
		return nil, fmt.Errorf("load authority: %s is no authority's certificate", filepath.Join(dir, AuthorityCert))
	case len(cert.Subject.Organization) != 1:
		return nil, fmt.Errorf("load authority: %s does not name its fleet", filepath.Join(dir, AuthorityCert))
	}
	return &Authority{fleet: cert.Subject.Organization[0], cert: cert, key: ec}, nil
}

func newSerial() (*big.Int, error) {
	return rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
}

func encodeKey(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}
