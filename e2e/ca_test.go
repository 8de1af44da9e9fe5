// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"path/filepath"
	"testing"
	"time"
)

// A testCA is what a service's clients trust alone. Its zero value stands for
// plain HTTP.
type testCA struct {
	caFile string
	roots  *x509.CertPool
}

// write makes the CA and a certificate of it for 127.0.0.1 in dir.
func (c *testCA) write(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	now := time.Now()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "sidekey e2e CA"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "sidekey e2e"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	caKey, leafKey := newECDSAKey(t), newECDSAKey(t)
	caPEM := signedPEM(t, ca, ca, &caKey.PublicKey, caKey)
	private, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	c.caFile, certFile, keyFile = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	writeFileAt(t, c.caFile, caPEM)
	writeFileAt(t, certFile, signedPEM(t, leaf, ca, &leafKey.PublicKey, caKey))
	writeFileAt(t, keyFile, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	c.roots = x509.NewCertPool()
	if !c.roots.AppendCertsFromPEM([]byte(caPEM)) {
		t.Fatal("the CA's certificate does not parse")
	}
	return certFile, keyFile
}

func newECDSAKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func signedPEM(t *testing.T, certificate, issuer *x509.Certificate, public, private any) string {
	t.Helper()
	der, err := x509.CreateCertificate(rand.Reader, certificate, issuer, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
}
