package authz_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

// perCatalog is how many requests are made up for each catalog that is.
const perCatalog = 10_000

// setting is a catalog that was made up, and secrets for it.
type setting struct {
	random  *rand.Rand
	plain   []plainEndpoint
	grants  []plainEndpoint
	catalog *authz.Catalog
	limited *authz.Secret
	legacy  *authz.Secret
}

// words are what catalogs and paths are made of.
var words = []string{"a", "b", "A", "search", "Search", "a.json", "v1", "p-x"}

func newSetting(t testing.TB, seed uint64) *setting {
	t.Helper()
	s := &setting{random: rand.New(rand.NewPCG(seed, 1))}
	taken := map[string]string{} // nameless template to its text: one spelling each
	var operations []authz.Operation
	for i := range 4 + s.random.IntN(12) {
		e := plainEndpoint{method: s.pick("GET", "PUT", "DELETE"), path: s.template()}
		if spelled, ok := taken[nameless(e.path)]; ok {
			e.path = spelled
		}
		taken[nameless(e.path)] = e.path
		if has(s.spelled(), e.method+" "+e.path) {
			continue
		}
		s.plain = append(s.plain, e)
		operations = append(operations, authz.Operation{ID: "op" + strconv.Itoa(i), Method: e.method, Path: e.path, Line: i + 1})
	}
	var err error
	if s.catalog, err = authz.Compile(operations); err != nil {
		t.Fatalf("compile %v: %v", s.plain, err)
	}
	s.grants = []plainEndpoint{}
	grant := authz.Grant{Permission: "p"}
	for _, e := range s.plain {
		if s.random.IntN(2) == 0 {
			s.grants = append(s.grants, e)
			grant.Endpoints = append(grant.Endpoints, authz.GrantedEndpoint{Method: e.method, Path: strings.ReplaceAll(e.path, "{x", "{renamed")})
		}
	}
	s.limited = authz.NewSecret(authz.Secret{ID: "l", Merchant: "m", Grants: []authz.Grant{grant}})
	s.legacy = authz.NewSecret(authz.Secret{ID: "u", Merchant: "m", Unrestricted: true})
	return s
}

func (s *setting) pick(from ...string) string { return from[s.random.IntN(len(from))] }

func (s *setting) spelled() (all []string) {
	for _, e := range s.plain {
		all = append(all, e.method+" "+e.path)
	}
	return all
}

func (s *setting) template() string {
	text := ""
	for i := range 1 + s.random.IntN(3) {
		part := s.pick(words...)
		if s.random.IntN(2) == 0 {
			part = s.pick("{x%d}", "{x%d}", "{x%d}", "{x%d}.json", "p-{x%d}", "{x%d}:go")
			part = strings.ReplaceAll(part, "%d", strconv.Itoa(i))
		}
		text += "/" + part
	}
	return text + s.pick("", "", "", "", "/")
}

// request makes a request up: a template filled with values, often spoilt.
func (s *setting) request() (method, path string) {
	e := s.plain[s.random.IntN(len(s.plain))]
	var parts []string
	for part := range strings.SplitSeq(e.path, "/") {
		if before, rest, ok := strings.Cut(part, "{"); ok {
			_, after, _ := strings.Cut(rest, "}")
			part = before + s.value() + after
		}
		parts = append(parts, part)
	}
	path = strings.Join(parts, "/")
	for range s.random.IntN(3) {
		path = s.spoil(path)
	}
	method = e.method
	if s.random.IntN(8) == 0 {
		method = s.pick("GET", "get", "HEAD", "", "GET ", "PUT", "G\x00T", "*", "PROPFIND")
	}
	return method, path
}

func (s *setting) value() string {
	switch s.random.IntN(6) {
	case 0:
		return s.pick(words...)
	case 1:
		return strings.ToUpper(s.pick(words...)) + s.pick("", ".", "..", ".json", ".x.y", ".json.")
	case 2:
		return s.pick(".", "..", "...", "a.", ".a", "~", "-", "", ":", "a:b", "p-", ".json", ":go")
	case 3:
		return strings.Repeat("a", 126+s.random.IntN(5))
	}
	return strconv.Itoa(s.random.IntN(1000))
}

func (s *setting) spoil(path string) string {
	i := s.random.IntN(len(path) + 1)
	switch s.random.IntN(6) {
	case 0:
		return path[:i] + string([]byte{byte(s.random.IntN(256))}) + path[i:]
	case 1:
		return path[:i] + path[min(i+1, len(path)):]
	case 2:
		return path[:i] + s.pick("/", "//", "/..", "/.", ";", ";a", "%2e", "%2f", `\`, ".", "?", "#", "%00", " ", ".json") + path[i:]
	case 3:
		return path[:i] + strings.ToUpper(path[i:])
	case 4:
		return path + s.pick("/", ".", ".json", "/..", ";", "%20")
	}
	return path[min(i, 1):]
}

// differ compares what package authz decides with what the plain matcher does,
// on n requests, and returns the first difference. planted changes what the
// plain one is asked.
func (s *setting) differ(n int, planted func(method, path string) (string, string), allowed *atomic.Int64) error {
	for range n {
		method, path := s.request()
		host := s.pick("", "a.example", "a.example", "a.example,b.example")
		for _, secret := range []*authz.Secret{s.limited, s.legacy} {
			grants := s.grants
			if secret == s.legacy {
				grants = nil
			}
			v := secret.Authorize(s.catalog.Resolve(authz.Request{Method: method, Path: path, Host: host}), time.Time{})
			asked, as := planted(method, path)
			if want := plainVerdict(s.plain, grants, asked, as, host); v.Reason.String() != want {
				return fmt.Errorf("%s %q of %v with %v is %s, and by the rule %s", method, path, s.spelled(), grants, v.Reason, want)
			}
			if v.Reason != authz.Granted {
				continue
			}
			allowed.Add(1)
			if first := v.Endpoints[0]; first.Method != method || refill(first.Path, path) != path {
				return fmt.Errorf("%s %q is allowed as %s, and that filled with its values is %q", method, path, first, refill(first.Path, path))
			}
		}
	}
	return nil
}

// refill fills a template with what stands in its places in path.
func refill(template, path string) string {
	want, parts := strings.Split(template, "/"), strings.Split(path, "/")
	for i := range want {
		if before, rest, ok := strings.Cut(want[i], "{"); ok && i < len(parts) && len(parts[i]) >= len(before) {
			_, after, _ := strings.Cut(rest, "}")
			want[i] = before + strings.TrimSuffix(parts[i][len(before):], after) + after
		}
	}
	return strings.Join(want, "/")
}

func as(method, path string) (string, string) { return method, path }

// TestDifferential has two matchers decide on requests that were made up:
// POSTERN_DIFFERENTIAL of them, or 200,000.
func TestDifferential(t *testing.T) {
	n := 200_000
	if text := os.Getenv("POSTERN_DIFFERENTIAL"); text != "" {
		var err error
		if n, err = strconv.Atoi(text); err != nil {
			t.Fatalf("POSTERN_DIFFERENTIAL: %v", err)
		}
	}
	var group sync.WaitGroup
	var next, allowed atomic.Int64
	for range runtime.GOMAXPROCS(0) {
		group.Go(func() {
			for i := next.Add(1); i <= int64(n/perCatalog); i = next.Add(1) {
				if err := newSetting(t, uint64(i)).differ(perCatalog, as, &allowed); err != nil {
					t.Errorf("catalog %d: %v", i, err)
				}
			}
		})
	}
	group.Wait()
	if allowed.Load() < int64(n/100) {
		t.Errorf("%d of %d requests were granted: too few to show anything", allowed.Load(), n)
	}
	t.Logf("%d requests, each with a secret of some grants and a legacy one: %d granted", n, allowed.Load())
}

// TestDifferentialFindsPlanted shows that a difference would be found.
func TestDifferentialFindsPlanted(t *testing.T) {
	for name, planted := range map[string]func(method, path string) (string, string){
		"a slash at the end goes": func(m, p string) (string, string) { return m, strings.TrimSuffix(p, "/") },
		"a dot at the end goes":   func(m, p string) (string, string) { return m, strings.TrimSuffix(p, ".") },
		"case is folded":          func(m, p string) (string, string) { return m, strings.ToLower(p) },
		"slashes are merged":      func(m, p string) (string, string) { return m, strings.ReplaceAll(p, "//", "/") },
		"a long value is cut":     func(m, p string) (string, string) { return m, strings.ReplaceAll(p, strings.Repeat("a", 129), "a") },
		"the method is folded":    func(m, p string) (string, string) { return strings.ToUpper(m), p },
		"the query is cut":        func(m, p string) (string, string) { p, _, _ = strings.Cut(p, "?"); return m, p },
	} {
		var allowed atomic.Int64
		found := false
		for seed := uint64(1); seed <= 20 && !found; seed++ {
			found = newSetting(t, seed).differ(perCatalog, planted, &allowed) != nil
		}
		if !found {
			t.Errorf("%s: no difference found, want one", name)
		}
	}
}

// FuzzAuthorize has both matchers decide on what the fuzzer makes up.
func FuzzAuthorize(f *testing.F) {
	s := newSetting(f, 7)
	for range 50 {
		method, path := s.request()
		f.Add(method, path, "a.example")
	}
	f.Fuzz(func(t *testing.T, method, path, host string) {
		for secret, grants := range map[*authz.Secret][]plainEndpoint{s.limited: s.grants, s.legacy: nil} {
			v := secret.Authorize(s.catalog.Resolve(authz.Request{Method: method, Path: path, Host: host}), time.Time{})
			if want := plainVerdict(s.plain, grants, method, path, host); v.Reason.String() != want {
				t.Errorf("%s %q is %s, and by the rule %s", method, path, v.Reason, want)
			}
			if v.Reason == authz.Granted && refill(v.Endpoints[0].Path, path) != path {
				t.Errorf("%s %q is allowed as %s", method, path, v.Endpoints[0])
			}
		}
	})
}
