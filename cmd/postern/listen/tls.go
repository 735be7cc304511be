package listen

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// tlsConfig is the configuration of TCP listeners, or nil where there is none.
func tlsConfig(o Options, log *slog.Logger) (*tls.Config, error) {
	switch {
	case o.TLSCert == "" && o.TLSKey == "" && o.TLSClientCA == "":
		return nil, nil
	case o.TLSCert == "" || o.TLSKey == "":
		return nil, errors.New("--tls-cert and --tls-key go together, and --tls-client-ca needs both")
	}
	pair := &keyPair{cert: o.TLSCert, key: o.TLSKey, log: log}
	if _, err := pair.get(nil); err != nil {
		return nil, fmt.Errorf("--tls-cert, --tls-key: %w", err)
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: pair.get}
	if o.TLSClientCA == "" {
		return config, nil
	}
	pem, err := os.ReadFile(o.TLSClientCA)
	if err != nil {
		return nil, fmt.Errorf("--tls-client-ca: %w", err)
	}
	config.ClientCAs, config.ClientAuth = x509.NewCertPool(), tls.RequireAndVerifyClientCert
	if !config.ClientCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("--tls-client-ca: %s holds no certificate in PEM", o.TLSClientCA)
	}
	return config, nil
}

// keyPair is a certificate that is read again when its file has changed. One
// that cannot be read leaves the old one in use, and the log says so.
type keyPair struct {
	cert, key string
	log       *slog.Logger

	mu       sync.Mutex // guards what follows
	loaded   *tls.Certificate
	modified time.Time
	trouble  string // why it cannot be read again, as logged last
}

func (p *keyPair) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	info, err := os.Stat(p.cert)
	if err == nil && (p.loaded == nil || !info.ModTime().Equal(p.modified)) {
		var pair tls.Certificate
		if pair, err = tls.LoadX509KeyPair(p.cert, p.key); err == nil {
			p.loaded, p.modified, p.trouble = &pair, info.ModTime(), ""
		}
	}
	if p.loaded == nil {
		return nil, err
	}
	if err != nil && err.Error() != p.trouble {
		p.trouble = err.Error()
		p.log.Error("the TLS certificate cannot be read again, and the old one stays in use until it expires", slog.String("file", p.cert), slog.Any("error", err))
	}
	return p.loaded, nil
}
