package envoy_test

import (
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

// decide runs a case against the decision alone. rewrite makes another request
// of it first, or nil leaves it.
func (w *world) decide(c testCase, rewrite func(method, path string) (string, string)) answer {
	v := w.verdict(c, rewrite)
	a := answer{status: "200", reason: v.Reason.String()}
	switch v.Reason.Decision() {
	case authz.Unauthenticated:
		a.status = "401"
	case authz.Forbidden:
		a.status = "403"
	case authz.Fail:
		a.status = "503"
	}
	if v.Reason == authz.NotGranted {
		a.scope = strings.Join(v.Permissions(), " ")
	}
	return a
}

func (w *world) verdict(c testCase, rewrite func(method, path string) (string, string)) authz.Verdict {
	if c.none {
		return authz.Verdict{Reason: authz.NoSecret}
	}
	token, reason := authz.ParseBearer(c.authorization)
	if reason != authz.Undecided {
		return authz.Verdict{Reason: reason}
	}
	lookup, reason := w.keys.Lookup(token)
	if reason != authz.Undecided {
		return authz.Verdict{Reason: reason}
	}
	secret := w.secrets[lookup.Digest]
	if secret == nil && lookup.Minted {
		return authz.Verdict{Reason: authz.RecordMissing}
	}
	method, target := c.method, strings.SplitN(c.path, "?", 2)[0]
	if rewrite != nil {
		method, target = rewrite(method, target)
	}
	address, _ := netip.ParseAddr(c.client)
	return secret.Authorize(w.catalog.Resolve(authz.Request{Method: method, Path: target, Host: c.host, Address: address}), time.Now())
}

func TestDecision(t *testing.T) {
	w := newWorld(t)
	for _, c := range readCases(t, w) {
		if got := w.decide(c, nil); got != c.want {
			t.Errorf("%s: %s %s = %+v, want %+v", c.name, c.method, c.path, got, c.want)
		}
	}
}

// TestWidenedMatcherFails shows that the table would see a matcher that takes
// more for the same endpoint than it should.
func TestWidenedMatcherFails(t *testing.T) {
	widened := map[string]func(method, target string) (string, string){
		"cleans the path":         func(m, p string) (string, string) { return m, path.Clean(p) },
		"decodes the path":        func(m, p string) (string, string) { u, err := url.PathUnescape(p); return m, orElse(u, p, err) },
		"trims a trailing slash":  func(m, p string) (string, string) { return m, strings.TrimSuffix(p, "/") },
		"folds case":              func(m, p string) (string, string) { return m, strings.ToLower(p) },
		"drops matrix parameters": func(m, p string) (string, string) { before, _, _ := strings.Cut(p, ";"); return m, before },
		"drops an extension":      func(m, p string) (string, string) { return m, strings.TrimSuffix(p, ".json") },
		"merges slashes":          func(m, p string) (string, string) { return m, strings.ReplaceAll(p, "//", "/") },
		"turns backslashes":       func(m, p string) (string, string) { return m, strings.ReplaceAll(p, `\`, "/") },
		"takes HEAD for GET":      func(m, p string) (string, string) { return strings.Replace(m, "HEAD", "GET", 1), p },
		"folds the method":        func(m, p string) (string, string) { return strings.ToUpper(m), p },
		"falls back by method":    func(m, p string) (string, string) { return m, strings.Replace(p, "/orders/search", "/orders/x", 1) },
		"drops long values' ends": func(m, p string) (string, string) { return m, strings.ReplaceAll(p, strings.Repeat("a", 129), "a") },
		"takes any byte in values": func(m, p string) (string, string) {
			return m, strings.NewReplacer("a+b", "ab", "a:b", "ab").Replace(p)
		},
	}
	w := newWorld(t)
	cases := readCases(t, w)
	for name, rewrite := range widened {
		wrong := 0
		for _, c := range cases {
			if got := w.decide(c, rewrite); got != c.want {
				wrong++
			}
		}
		if wrong == 0 {
			t.Errorf("a matcher that %s passes all %s cases: want one that fails", name, strconv.Itoa(len(cases)))
		}
	}
}

func orElse(s, fallback string, err error) string {
	if err != nil {
		return fallback
	}
	return s
}
