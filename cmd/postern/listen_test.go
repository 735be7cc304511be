package main

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
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

func TestSocketMode(t *testing.T) {
	s := newShell(t)
	tests := []struct {
		flags string
		want  os.FileMode
	}{{"", 0o660}, {"--socket-mode 0600", 0o600}, {"--socket-mode 666", 0o666}}
	for _, tt := range tests {
		g := s.launch(tt.flags)
		for _, socket := range []string{g.socket, strings.TrimPrefix(g.ops, "unix:")} {
			info, err := os.Stat(socket)
			if err != nil || info.Mode() != os.ModeSocket|tt.want {
				t.Errorf("serve %s: %s = %v, %v, want a socket of mode %v", tt.flags, socket, info.Mode(), err, tt.want)
			}
		}
		g.ends()
	}
}

// freePort is a port on which nobody listened a moment ago.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

func TestPlainTCP(t *testing.T) {
	s := newShell(t)
	secret := s.create("--permission getOrderLabel+shipping_price")
	for _, host := range []string{"0.0.0.0", "", "[::]", "192.0.2.1", "example.com", "127.0.0.1.example.com"} {
		address := host + ":" + freePort(t)
		for _, line := range []string{"serve --listen " + address, "serve --listen unix:" + s.dir + "/g.sock --ops " + address} {
			s.ended(s.brief(line), exitRefused, address+": beyond loopback it needs --tls-cert and --tls-key, or --insecure to go without")
		}
	}
	port := freePort(t)
	g := s.serve("--listen 0.0.0.0:" + port + " --insecure")
	g.dial("127.0.0.1:"+port, insecure.NewCredentials())
	g.answers(secret.Secret, "GET /api/3/orders/1/label", 200, "granted")
	port = freePort(t)
	g = s.serve("--listen localhost:" + port)
	g.dial("localhost:"+port, insecure.NewCredentials())
	g.answers(secret.Secret, "GET /api/3/orders/1/label", 200, "granted")
	g.dial("unix:"+g.socket, insecure.NewCredentials()) // several --listen
	g.answers(secret.Secret, "GET /api/3/orders/1/label", 200, "granted")
}

// identity is a key and a certificate that signed itself, as files of the
// shell's directory, and as what trusts and uses them.
type identity struct {
	certFile, keyFile string
	pool              *x509.CertPool
	pair              tls.Certificate
}

// identity makes an identity. One of the same name replaces the files.
func (s *shell) identity(name string) identity {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		s.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		s.t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		s.t.Fatal(err)
	}
	id := identity{pool: x509.NewCertPool()}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	id.keyFile, id.certFile = s.write(name+".key", string(keyPEM)), s.write(name+".crt", string(certPEM))
	id.pool.AppendCertsFromPEM(certPEM)
	if id.pair, err = tls.X509KeyPair(certPEM, keyPEM); err != nil {
		s.t.Fatal(err)
	}
	return id
}

func TestTLS(t *testing.T) {
	s := newShell(t)
	secret := s.create("--permission getOrderLabel+shipping_price")
	server, client, stranger := s.identity("server"), s.identity("client"), s.identity("stranger")
	port := freePort(t)
	g := s.serve("--listen 0.0.0.0:" + port + " --tls-cert " + server.certFile + " --tls-key " + server.keyFile + " --tls-client-ca " + client.certFile)
	tests := []struct {
		name   string
		config *tls.Config // nil: no TLS
		ok     bool
	}{
		{"mutual", &tls.Config{RootCAs: server.pool, Certificates: []tls.Certificate{client.pair}}, true},
		{"another client", &tls.Config{RootCAs: server.pool, Certificates: []tls.Certificate{stranger.pair}}, false},
		{"no client certificate", &tls.Config{RootCAs: server.pool}, false},
		{"no TLS", nil, false},
	}
	for _, tt := range tests {
		c := insecure.NewCredentials()
		if tt.config != nil {
			c = credentials.NewTLS(tt.config)
		}
		g.dial("127.0.0.1:"+port, c)
		a, err := g.ask(secret.Secret, "GET /api/3/orders/1/label")
		if ok := err == nil && a.status == 200; ok != tt.ok {
			t.Errorf("%s: answer = %+v, %v, want one: %v", tt.name, a, err, tt.ok)
		}
	}
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		config := &tls.Config{RootCAs: server.pool, Certificates: []tls.Certificate{client.pair}, MinVersion: version, MaxVersion: version}
		c, err := tls.Dial("tcp", "127.0.0.1:"+port, config)
		if (err == nil) != ok {
			t.Errorf("%s: error = %v, want none: %v", tls.VersionName(version), err, ok)
		}
		if err == nil {
			c.Close()
		}
	}
	g.dial("unix:"+g.socket, insecure.NewCredentials()) // the file system guards it
	g.answers(secret.Secret, "GET /api/3/orders/1/label", 200, "granted")
}

// A certificate that was replaced comes into use; one that cannot be read does
// not.
func TestCertificateReload(t *testing.T) {
	s := newShell(t)
	secret := s.create("--permission getOrderLabel+shipping_price")
	old, port := s.identity("server"), freePort(t)
	g := s.serve("--listen 127.0.0.1:" + port + " --tls-cert " + old.certFile + " --tls-key " + old.keyFile)
	trusts := func(id identity) bool {
		g.dial("127.0.0.1:"+port, credentials.NewTLS(&tls.Config{RootCAs: id.pool}))
		a, err := g.ask(secret.Secret, "GET /api/3/orders/1/label")
		return err == nil && a.status == 200
	}
	if !trusts(old) {
		t.Fatal("the certificate of the start is not in use")
	}
	fresh := s.identity("server")
	if !trusts(fresh) || trusts(old) {
		t.Error("the new certificate is not in use")
	}
	s.write("server.crt", "nonsense")
	if !trusts(fresh) {
		t.Error("a certificate that cannot be read took the place of a good one")
	}
	if n := strings.Count(g.log.String(), "the TLS certificate cannot be read again"); trusts(fresh) && n != 1 {
		t.Errorf("the log says %d times that the certificate cannot be read, want once", n)
	}
}

func TestTLSFlags(t *testing.T) {
	s := newShell(t)
	id, other := s.identity("server"), s.identity("other")
	s.vars["CERT"], s.vars["KEY"], s.vars["OTHERKEY"] = id.certFile, id.keyFile, other.keyFile
	tests := []struct{ flags, text string }{
		{"--tls-cert $CERT", "--tls-cert and --tls-key go together"},
		{"--tls-key $KEY", "--tls-cert and --tls-key go together"},
		{"--tls-client-ca $CERT", "--tls-client-ca needs both"},
		{"--tls-cert $DIR/none --tls-key $KEY", "/none: no such file"},
		{"--tls-cert $CERT --tls-key $DIR/none", "/none: no such file"},
		{"--tls-cert $CERT --tls-key $OTHERKEY", "private key does not match public key"},
		{"--tls-cert $CERT --tls-key $KEY --tls-client-ca $DIR/none", "--tls-client-ca: open"},
		{"--tls-cert $CERT --tls-key $KEY --tls-client-ca $KEYS", "holds no certificate in PEM"},
		{"--tls-cert $CERT --tls-key $KEY --tls-client-ca $KEYS --insecure", "holds no certificate in PEM"},
	}
	for _, tt := range tests {
		s.ended(s.brief("serve --listen 127.0.0.1:0 "+tt.flags), exitRefused, tt.text)
	}
}

// The operators' address is for tools on the host: on loopback it needs no
// certificate, whatever the checks need.
func TestHealthBesideTLS(t *testing.T) {
	s := newShell(t)
	id := s.identity("server")
	address := "127.0.0.1:" + freePort(t)
	dir := socketDir(t)
	g := s.launchOn(dir+"/gate.sock", address, "--tls-cert "+id.certFile+" --tls-key "+id.keyFile+" --tls-client-ca "+id.certFile)
	g.awaitReady()
	s.ended(s.run("health", address), exitDone)
}

// Beyond loopback the operators' address needs TLS as the checks do.
func TestOpsBeyondLoopback(t *testing.T) {
	s := newShell(t)
	id, port := s.identity("server"), freePort(t)
	g := s.launchOn(socketDir(t)+"/gate.sock", "0.0.0.0:"+port, "--tls-cert "+id.certFile+" --tls-key "+id.keyFile)
	g.awaitReady()
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: id.pool}, DisableKeepAlives: true}}
	for scheme, want := range map[string]int{"https": http.StatusOK, "http": http.StatusBadRequest} {
		response, err := client.Get(scheme + "://127.0.0.1:" + port + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		if response.Body.Close(); response.StatusCode != want {
			t.Errorf("readyz by %s = %d, want %d", scheme, response.StatusCode, want)
		}
	}
}
