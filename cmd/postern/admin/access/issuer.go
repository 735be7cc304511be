package access

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/time/rate"

	"github.com/postern/postern/authz"
)

// IssuerOptions are an OIDC issuer and what its tokens' claims stand for.
type IssuerOptions struct {
	URL      string // as in iss. Required.
	Audience string // one of aud. Required.
	JWKS     string // file, or URL, of its keys; "" asks the issuer where they are

	// CLAIM=VALUE, of a claim that is a text or a list of texts.
	Operator, Viewer string

	// Merchant is a claim whose value is a merchant's id.
	Merchant string
}

// Issuer recognises tokens of an OIDC issuer. It is safe for concurrent use.
type Issuer struct {
	o      IssuerOptions
	client *http.Client

	mu       sync.Mutex // guards what follows
	verifier *oidc.IDTokenVerifier
	made     time.Time
	err      error // that the last try to make one ended with, at failed
	failed   time.Time
}

// keepKeys is how long the issuer's keys are believed: one that it took back
// is refused from then on.
const keepKeys = 5 * time.Minute

// retry is how long nobody asks again after the issuer could not be asked: those
// who wait for one answer would else wait for one another's.
const retry = time.Second

// sparing sends the issuer a request a second, and a few at first: whoever makes
// up names of keys must not have it asked for each.
type sparing struct {
	http.RoundTripper
	limit *rate.Limiter
}

func (s sparing) RoundTrip(r *http.Request) (*http.Response, error) {
	if !s.limit.Allow() {
		return nil, errors.New("the issuer was asked for its keys too often")
	}
	return s.RoundTripper.RoundTrip(r)
}

// algorithms that may sign: all are asymmetric.
var algorithms = []string{oidc.RS256, oidc.RS384, oidc.RS512, oidc.ES256, oidc.ES384, oidc.ES512, oidc.PS256, oidc.PS384, oidc.PS512, oidc.EdDSA}

// NewIssuer checks options. It asks nobody yet, so that an issuer out of reach
// keeps no one else out.
func NewIssuer(o IssuerOptions) (*Issuer, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ResponseHeaderTimeout: 5 * time.Second}
	i := &Issuer{o: o, client: &http.Client{Transport: sparing{transport, rate.NewLimiter(1, 10)}, Timeout: 10 * time.Second}}
	if o.Audience == "" {
		return nil, errors.New("--oidc-audience is missing: without it, tokens made for other services would be taken")
	}
	if o.Operator == "" && o.Viewer == "" && o.Merchant == "" {
		return nil, errors.New("no claim gives a role: name one with --oidc-operator, --oidc-viewer or --oidc-merchant")
	}
	for flag, text := range map[string]string{"--oidc-operator": o.Operator, "--oidc-viewer": o.Viewer} {
		if claim, value, _ := strings.Cut(text, "="); text != "" && (claim == "" || value == "") {
			return nil, fmt.Errorf("%s %q: write CLAIM=VALUE", flag, text)
		}
	}
	for flag, text := range map[string]string{"--oidc-issuer": o.URL, "--oidc-jwks": o.JWKS} {
		if u, err := url.Parse(text); err != nil || u.Scheme == "http" && u.Hostname() != "localhost" && u.Hostname() != "127.0.0.1" {
			return nil, fmt.Errorf("%s %q: write an https URL", flag, text)
		}
	}
	if o.JWKS != "" && !strings.Contains(o.JWKS, "://") {
		path, err := filepath.Abs(o.JWKS)
		if err == nil {
			_, err = os.Stat(path)
		}
		if err != nil {
			return nil, fmt.Errorf("--oidc-jwks: %w", err)
		}
		transport.RegisterProtocol("file", http.NewFileTransport(http.Dir("/")))
		i.o.JWKS = (&url.URL{Scheme: "file", Path: path}).String()
	}
	return i, nil
}

// current is a verifier with keys that are not too old.
func (i *Issuer) current(now time.Time) (*oidc.IDTokenVerifier, error) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.verifier != nil && now.Sub(i.made) < keepKeys {
		return i.verifier, nil
	}
	if i.err != nil && now.Sub(i.failed) < retry {
		return nil, i.err
	}
	// Not a request's context: the verifier outlives it.
	ctx := oidc.ClientContext(context.Background(), i.client)
	config := &oidc.Config{ClientID: i.o.Audience, SupportedSigningAlgs: algorithms}
	if i.o.JWKS != "" {
		i.verifier = oidc.NewVerifier(i.o.URL, oidc.NewRemoteKeySet(ctx, i.o.JWKS), config)
	} else {
		provider, err := oidc.NewProvider(ctx, i.o.URL)
		if i.err, i.failed = err, time.Now(); err != nil {
			return nil, err
		}
		i.verifier = provider.Verifier(config)
	}
	i.made = now
	return i.verifier, nil
}

func (i *Issuer) identify(ctx context.Context, credential string, now time.Time) (Identity, error) {
	verifier, err := i.current(now)
	if err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	}
	token, err := verifier.Verify(ctx, credential)
	switch {
	case err != nil && strings.Contains(err.Error(), "get keys failed"):
		return Identity{}, fmt.Errorf("%w: %w", ErrUnavailable, err)
	case err != nil:
		return Identity{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	if !isSubject(token.Subject) {
		return Identity{}, fmt.Errorf("%w: its subject is none", ErrUnknown)
	}
	var claims map[string]any
	if err := token.Claims(&claims); err != nil {
		return Identity{}, fmt.Errorf("%w: %w", ErrUnknown, err)
	}
	role, ok := i.role(claims)
	if !ok {
		return Identity{}, fmt.Errorf("%w: no claim of it gives a role", ErrUnknown)
	}
	return Identity{Name: "oidc:" + token.Subject, Role: role, Until: token.Expiry}, nil
}

// isSubject reports whether text is what OpenID Connect lets a subject be: 1 to
// 255 characters of ASCII. It goes into logs.
func isSubject(text string) bool {
	return text != "" && len(text) <= 255 && !strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r >= 0x7f })
}

// role is what the claims stand for: the first that holds.
func (i *Issuer) role(claims map[string]any) (Role, bool) {
	has := func(rule string) bool {
		claim, value, _ := strings.Cut(rule, "=")
		return rule != "" && slices.Contains(texts(claims[claim]), value)
	}
	switch {
	case has(i.o.Operator):
		return Operator, true
	case has(i.o.Viewer):
		return Viewer, true
	case i.o.Merchant == "":
		return Role{}, false
	}
	id, ok := claims[i.o.Merchant].(string)
	return Merchant(id), ok && authz.CheckMerchant(id) == nil
}

// texts are a claim's texts: of one, or of a list.
func texts(claim any) []string {
	if text, ok := claim.(string); ok {
		return []string{text}
	}
	var all []string
	list, _ := claim.([]any)
	for _, item := range list {
		if text, ok := item.(string); ok {
			all = append(all, text)
		}
	}
	return all
}
