package localca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	rootLife = 5 * 365 * 24 * time.Hour
	// skew is how far the client's clock may be behind.
	skew = 5 * time.Minute
)

// Root is the root certificate with its key.
type Root struct {
	cert *x509.Certificate
	key  crypto.Signer
}

// NewRoot makes a root with a P-256 key. The name is what people see in the
// list of authorities their machine trusts.
func NewRoot(now time.Time, name string) (*Root, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("localca: root key: %w", err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"Writ"}, CommonName: name},
		NotBefore:             now.Add(-skew),
		NotAfter:              now.Add(rootLife),
		IsCA:                  true,
		BasicConstraintsValid: true,
		MaxPathLen:            1, // intermediates, and leaves below them
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	cert, err := sign(template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &Root{cert, key}, nil
}

// OpenRoot is the root that MarshalPKCS8 and DER gave away.
func OpenRoot(der, pkcs8 []byte) (*Root, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("localca: root certificate: %w", err)
	}
	parsed, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, errors.New("localca: the root's key cannot be read") // its error might quote the key
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok || !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("localca: the root's key is not the certificate's")
	}
	if !cert.IsCA || cert.CheckSignatureFrom(cert) != nil {
		return nil, errors.New("localca: the certificate is not a root")
	}
	return &Root{cert, key}, nil
}

// DER is the certificate.
func (r *Root) DER() []byte { return r.cert.Raw }

// PEM is the certificate as clients want it.
func (r *Root) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.cert.Raw})
}

// NotAfter is when it runs out.
func (r *Root) NotAfter() time.Time { return r.cert.NotAfter }

// Fingerprint is the certificate's.
func (r *Root) Fingerprint() string { return Fingerprint(r.cert.Raw) }

// MarshalPKCS8 gives the key away (RFC 5958), for sealing. The caller clears
// it.
func (r *Root) MarshalPKCS8() ([]byte, error) { return x509.MarshalPKCS8PrivateKey(r.key) }

// String names the certificate, never the key.
func (r *Root) String() string { return "localca.Root " + r.Fingerprint() }

// GoString is for %#v.
func (r *Root) GoString() string { return r.String() }

// Fingerprint is the SHA-256 of a certificate's DER form, in lower-case
// hexadecimal: what a machine that installs a root over an untrusted channel
// compares (T50).
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// sign completes and signs a template.
func sign(template, parent *x509.Certificate, public crypto.PublicKey, key crypto.Signer) (*x509.Certificate, error) {
	// RFC 5280, section 4.1.2.2: positive, at most 20 bytes; 127 random bits.
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("localca: serial number: %w", err)
	}
	template.SerialNumber = serial.Add(serial, big.NewInt(1))
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, key)
	if err != nil {
		return nil, fmt.Errorf("localca: sign: %w", err)
	}
	return x509.ParseCertificate(der)
}
