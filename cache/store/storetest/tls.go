package storetest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

// TLS among the arguments of Redis, Sentinel or Cluster has every server
// speak TLS only, with a certificate for 127.0.0.1 (not for localhost) from an
// authority made for the test, whose certificate is Server.CAFile.
const TLS = "--storetest-tls"

// authority is a certificate authority and what it issued.
type authority struct {
	file   string      // its certificate, PEM
	args   []string    // what gives a redis-server its certificate
	client *tls.Config // trusts the authority
}

// newAuthority is nil where args do not hold TLS.
func newAuthority(t testing.TB, args []string) *authority {
	t.Helper()
	if !slices.Contains(args, TLS) {
		return nil
	}
	root := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "storetest authority"},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	rootKey := newKey(t)
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "storetest server"},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}}
	leafKey := newKey(t)
	keyBytes, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatalf("encode the key of redis-server: %v", err)
	}
	dir := t.TempDir()
	ca := writePEM(t, dir, "ca.crt", "CERTIFICATE", sign(t, root, root, rootKey, rootKey))
	crt := writePEM(t, dir, "redis.crt", "CERTIFICATE", sign(t, leaf, root, leafKey, rootKey))
	key := writePEM(t, dir, "redis.key", "PRIVATE KEY", keyBytes)
	return &authority{file: ca, client: &tls.Config{RootCAs: pool(t, ca)}, args: []string{
		"--tls-cert-file", crt, "--tls-key-file", key, "--tls-ca-cert-file", ca,
		"--tls-auth-clients", "no", "--tls-replication", "yes", "--tls-cluster", "yes"}}
}

func newKey(t testing.TB) *ecdsa.PrivateKey {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatalf("make a key: %v", err)
	}
	return key
}

// sign issues cert, valid for a day around now.
func sign(t testing.TB, cert, issuer *x509.Certificate, key, issuerKey *ecdsa.PrivateKey) []byte {
	t.Helper()
	cert.NotBefore, cert.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(23*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, cert, issuer, &key.PublicKey, issuerKey)
	if err != nil {
		t.Fatalf("issue a certificate: %v", err)
	}
	return der
}

func writePEM(t testing.TB, dir, name, kind string, der []byte) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatalf("write %s: %v", name, err)
	}
	return path
}

func pool(t testing.TB, file string) *x509.CertPool {
	t.Helper()
	text, err := os.ReadFile(file)
	certs := x509.NewCertPool()
	if err != nil || !certs.AppendCertsFromPEM(text) {
		t.Fatalf("read %s: %v", file, err)
	}
	return certs
}
