package access

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func encoded(value any) string {
	text, _ := json.Marshal(value)
	return base64.RawURLEncoding.EncodeToString(text)
}

// signer is an issuer's key.
type signer struct {
	id  string
	key *rsa.PrivateKey
}

func newSigner(t *testing.T, id string) signer {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return signer{id, key}
}

// jwks is the set of keys as an issuer publishes it.
func jwks(signers ...signer) []byte {
	keys := []map[string]string{}
	for _, s := range signers {
		keys = append(keys, map[string]string{
			"kty": "RSA", "kid": s.id, "use": "sig", "alg": "RS256", "n": base64.RawURLEncoding.EncodeToString(s.key.N.Bytes()),
			"e": base64.RawURLEncoding.EncodeToString(big.NewInt(int64(s.key.E)).Bytes()),
		})
	}
	text, _ := json.Marshal(map[string]any{"keys": keys})
	return text
}

func (s signer) sign(claims map[string]any) string {
	text := encoded(map[string]string{"alg": "RS256", "kid": s.id, "typ": "JWT"}) + "." + encoded(claims)
	sum := sha256.Sum256([]byte(text))
	signature, _ := rsa.SignPKCS1v15(rand.Reader, s.key, crypto.SHA256, sum[:])
	return text + "." + base64.RawURLEncoding.EncodeToString(signature)
}

const issuerURL = "https://issuer.example"

// claims are those of a good token, with changes; nil takes one away.
func claims(changes map[string]any) map[string]any {
	all := map[string]any{"iss": issuerURL, "aud": "postern", "sub": "u1", "exp": time.Now().Add(time.Hour).Unix(), "groups": []string{"staff", "postern-admins"}}
	for name, value := range changes {
		if all[name] = value; value == nil {
			delete(all, name)
		}
	}
	return all
}

func newIssuer(t *testing.T, keys string) *Issuer {
	t.Helper()
	i, err := NewIssuer(IssuerOptions{URL: issuerURL, Audience: "postern", JWKS: keys, Operator: "groups=postern-admins", Viewer: "groups=support", Merchant: "merchant_id"})
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func TestIssuer(t *testing.T) {
	s, other := newSigner(t, "k1"), newSigner(t, "k1")
	file := filepath.Join(t.TempDir(), "jwks.json")
	os.WriteFile(file, jwks(s), 0o600)
	g := Guard{Issuer: newIssuer(t, file)}
	good := s.sign(claims(nil))
	unsigned := encoded(map[string]string{"alg": "none"}) + "." + encoded(claims(nil)) + "."
	symmetric := encoded(map[string]string{"alg": "HS256", "kid": "k1"}) + "." + encoded(claims(nil))
	mac := hmac.New(sha256.New, s.key.N.Bytes())
	mac.Write([]byte(symmetric))
	head, _, _ := strings.Cut(good, ".")
	_, tail, _ := strings.Cut(good[len(head)+1:], ".")
	tests := []struct {
		name, token string
		role        string // "" of one that is not recognised
	}{
		{"operator", good, "operator"},
		{"viewer", s.sign(claims(map[string]any{"groups": "support"})), "viewer"},
		{"merchant", s.sign(claims(map[string]any{"groups": nil, "merchant_id": "m-1"})), "merchant:m-1"},
		{"one of two audiences", s.sign(claims(map[string]any{"aud": []string{"x", "postern"}})), "operator"},
		{"no role", s.sign(claims(map[string]any{"groups": nil})), ""},
		{"a group that begins alike", s.sign(claims(map[string]any{"groups": "postern-admins-2"})), ""},
		{"a merchant that is none", s.sign(claims(map[string]any{"groups": nil, "merchant_id": "a/b"})), ""},
		{"a merchant that is a number", s.sign(claims(map[string]any{"groups": nil, "merchant_id": 7})), ""},
		{"expired", s.sign(claims(map[string]any{"exp": time.Now().Add(-time.Minute).Unix()})), ""},
		{"without an end", s.sign(claims(map[string]any{"exp": nil})), ""},
		{"not yet", s.sign(claims(map[string]any{"nbf": time.Now().Add(time.Hour).Unix()})), ""},
		{"another issuer", s.sign(claims(map[string]any{"iss": issuerURL + "/"})), ""},
		{"another audience", s.sign(claims(map[string]any{"aud": "billing"})), ""},
		{"no audience", s.sign(claims(map[string]any{"aud": nil})), ""},
		{"another key of the same name", other.sign(claims(nil)), ""},
		{"unsigned", unsigned, ""},
		{"signed by the public key", symmetric + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)), ""},
		{"claims changed", head + "." + encoded(claims(map[string]any{"sub": "u2"})) + "." + tail, ""},
		{"a subject that controls a terminal", s.sign(claims(map[string]any{"sub": "u\x1b[2J"})), ""},
		{"no subject", s.sign(claims(map[string]any{"sub": nil})), ""},
		{"nonsense", "a.b.c", ""},
	}
	for _, tt := range tests {
		id, err := g.Identify(t.Context(), tt.token, time.Now())
		if tt.role == "" && !errors.Is(err, ErrUnknown) || tt.role != "" && (err != nil || id.Role.String() != tt.role || id.Name != "oidc:u1" || id.Until.IsZero()) {
			t.Errorf("%s = %+v, %v, want %q", tt.name, id, err, tt.role)
		}
	}
	// A key that came later is known; one that was taken back is not for long.
	next := newSigner(t, "k2")
	os.WriteFile(file, jwks(next), 0o600)
	if _, err := g.Identify(t.Context(), next.sign(claims(nil)), time.Now()); err != nil {
		t.Errorf("a key that came later: %v", err)
	}
	if _, err := g.Identify(t.Context(), good, time.Now().Add(keepKeys)); !errors.Is(err, ErrUnknown) {
		t.Errorf("a key that was taken back = %v, want unknown", err)
	}
	os.Remove(file)
	if _, err := g.Identify(t.Context(), good, time.Now().Add(2*keepKeys)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without keys = %v, want unavailable", err)
	}
}

// The issuer says where its keys are, unless that is given.
func TestIssuerDiscovery(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var served *httptest.Server
	served = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		switch r.URL.Path {
		case "/.well-known/openid-configuration":
			fmt.Fprintf(w, `{"issuer":%q,"jwks_uri":%q,"authorization_endpoint":"","token_endpoint":"","id_token_signing_alg_values_supported":["ES256"]}`, served.URL, served.URL+"/keys")
		case "/keys":
			point, _ := key.PublicKey.Bytes()
			fmt.Fprintf(w, `{"keys":[{"kty":"EC","crv":"P-256","kid":"e","use":"sig","alg":"ES256","x":%q,"y":%q}]}`,
				base64.RawURLEncoding.EncodeToString(point[1:33]), base64.RawURLEncoding.EncodeToString(point[33:]))
		}
	}))
	t.Cleanup(served.Close)
	i, err := NewIssuer(IssuerOptions{URL: served.URL, Audience: "postern", Viewer: "groups=staff"})
	if err != nil {
		t.Fatal(err)
	}
	text := encoded(map[string]string{"alg": "ES256", "kid": "e"}) + "." + encoded(claims(map[string]any{"iss": served.URL}))
	sum := sha256.Sum256([]byte(text))
	r, s, _ := ecdsa.Sign(rand.Reader, key, sum[:])
	signature := append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
	token := text + "." + base64.RawURLEncoding.EncodeToString(signature)
	if id, err := i.identify(t.Context(), token, time.Now()); err != nil || id.Role != Viewer {
		t.Errorf("identify = %+v, %v, want a viewer", id, err)
	}
	served.Close()
	if _, err := i.identify(t.Context(), token, time.Now().Add(keepKeys)); !errors.Is(err, ErrUnavailable) {
		t.Errorf("identify with the issuer out of reach = %v, want unavailable", err)
	}
}

// Strangers cannot have the issuer asked as often as they like, nor make others
// wait in a row while it hangs.
func TestIssuerIsSpared(t *testing.T) {
	s := newSigner(t, "k1")
	var asked, hangs atomic.Int64
	served := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if hangs.Load() > 0 {
			time.Sleep(300 * time.Millisecond)
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		w.Write(jwks(s))
	}))
	t.Cleanup(served.Close)
	i := newIssuer(t, served.URL)
	for n := range 100 {
		if _, err := i.identify(t.Context(), signer{fmt.Sprint("made up ", n), s.key}.sign(claims(nil)), time.Now()); err == nil {
			t.Fatal("a key that is not the issuer's is taken")
		}
	}
	if n := asked.Load(); n < 5 || n > 20 {
		t.Errorf("100 names of keys: the issuer was asked %d times, want 10 and one a second", n)
	}
	if _, err := i.identify(t.Context(), s.sign(claims(nil)), time.Now()); err != nil {
		t.Errorf("a good token after them: %v", err)
	}
	hangs.Store(1)
	discovers, err := NewIssuer(IssuerOptions{URL: served.URL, Audience: "postern", Viewer: "groups=staff"})
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			if _, err := discovers.identify(t.Context(), s.sign(claims(nil)), time.Now()); !errors.Is(err, ErrUnavailable) {
				t.Errorf("identify while the issuer hangs = %v, want unavailable", err)
			}
		})
	}
	group.Wait()
	if took := time.Since(begun); took > 1500*time.Millisecond {
		t.Errorf("ten at once waited %v for an issuer that hangs for 0.3 s: in a row", took)
	}
}

func TestIssuerRefused(t *testing.T) {
	for want, o := range map[string]IssuerOptions{
		"--oidc-audience": {URL: issuerURL, Operator: "a=b"},
		"no claim":        {URL: issuerURL, Audience: "x"},
		"CLAIM=VALUE":     {URL: issuerURL, Audience: "x", Operator: "admins"},
		"https URL":       {URL: "http://issuer.example", Audience: "x", Operator: "a=b"},
		"no such file":    {URL: issuerURL, Audience: "x", Operator: "a=b", JWKS: "/nowhere/jwks.json"},
	} {
		if _, err := NewIssuer(o); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("NewIssuer(%+v) = %v, want an error with %q", o, err, want)
		}
	}
}
