package admin

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/cmd/postern/admin/access"
)

// Who guesses, or makes secrets without end, has to wait, and is told how long
// (ASVS 6.3.1, 2.4.1).
func TestRateLimits(t *testing.T) {
	waits := func(what string, a answer) {
		t.Helper()
		if n, err := strconv.Atoi(a.header.Get("Retry-After")); a.status != 429 || err != nil || n < 1 || n > 60 {
			t.Errorf("%s = %d, Retry-After %q, want 429 and some seconds", what, a.status, a.header.Get("Retry-After"))
		}
	}
	w := newWorld(t)
	w.server.limits = newLimits()
	for range 5 {
		if a := w.post(nil, "/sign-in", url.Values{"token": {"wrong"}}); a.status != 401 {
			t.Errorf("a wrong token = %d, want 401", a.status)
		}
	}
	waits("the sixth wrong token in a minute", w.post(nil, "/sign-in", url.Values{"token": {"wrong"}}))
	if a := w.post(nil, "/sign-in", url.Values{"token": {w.tokens["a"]}}); a.status != 303 {
		t.Errorf("a good token after it, as of somebody else behind one proxy = %d, want 303", a.status)
	}
	last := answer{}
	for range 200 {
		if last = w.ask("unknown", "GET", "/v1/permissions", ""); last.status != 401 {
			break
		}
	}
	waits("unknown tokens without end", last)
	if a := w.ask("a", "GET", "/v1/permissions", ""); a.status != 200 {
		t.Errorf("a good token after unknown ones = %d, want 200", a.status)
	}
	made := 0
	for made < 400 {
		if last = w.ask("a", "POST", "/v1/merchants/a/secrets", good); last.status != 201 {
			break
		}
		made++
	}
	waits("secrets without end", last)
	if made < 40 {
		t.Errorf("after %d secrets there is a wait, want 40 at least", made)
	}
	if a := w.ask("b", "POST", "/v1/merchants/b/secrets", good); a.status != 201 {
		t.Errorf("a secret of another while one has to wait = %d, want 201", a.status)
	}
}

// A flood of refusals does not fill the audit log: its beginning is there, and
// who is refused elsewhere, and what others do.
func TestFloodIsToldByItsBeginning(t *testing.T) {
	w := newWorld(t)
	w.server.limits.refusals = newLimits().refusals
	before := len(w.entries())
	for _, flood := range []func() answer{
		func() answer { return w.ask("a", "GET", "/v1/merchants/b/secrets", "") },
		func() answer { return w.ask("a", "POST", "/v1/merchants/a/secrets", "{}") },
		func() answer { return w.post(nil, pageOf("a")+"/new", url.Values{}) },
	} {
		for range 150 {
			if a := flood(); a.status/100 == 2 || a.status == 429 {
				t.Fatalf("a refusal = %d", a.status)
			}
		}
	}
	if n := len(w.entries()) - before; n < 200 || n > 230 {
		t.Errorf("450 refusals of one who is known and one who is not make %d entries, want some 200", n)
	}
	before = len(w.entries())
	w.ask("b", "GET", "/v1/merchants/a/secrets", "")
	if n := len(w.entries()) - before; n != 1 {
		t.Errorf("another's refusal makes %d entries, want 1", n)
	}
}

// A limiter forgets keys that have nothing to remember.
func TestLimiterIsBounded(t *testing.T) {
	l := newLimiter(1, 1)
	for i := range 3 * maxKeys {
		l.take(strconv.Itoa(i))
	}
	if n := len(l.byKey); n > maxKeys {
		t.Errorf("a limiter remembers %d keys, want %d at most", n, maxKeys)
	}
}

// A session ends when it is idle, when it is old, when its user leaves, and
// when its token does (ASVS 7.3.1, 7.3.2, 7.4.1).
func TestSessions(t *testing.T) {
	w := newWorld(t)
	now := time.Now()
	var mu sync.Mutex
	w.server.sessions.Now = func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	lives := func(what string, session *http.Cookie, want bool) {
		t.Helper()
		if got := w.get(session, pageOf("a")).status == 200; got != want {
			t.Errorf("a session %s lives: %v, want %v", what, got, want)
		}
	}
	s := w.session("a")
	if !s.Secure || !s.HttpOnly || s.SameSite != http.SameSiteStrictMode || s.Path != "/" || s.Domain != "" || !strings.HasPrefix(s.Name, "__Host-") || len(s.Value) < 40 {
		t.Errorf("the cookie is %v, want __Host-, Secure, HttpOnly, SameSite=Strict, of 256 bits", s)
	}
	lives("that has begun", s, true)
	for range 33 { // 7 h 42 min
		pass(access.SessionIdle - time.Minute)
		lives("in use", s, true)
	}
	pass(access.SessionIdle - time.Minute)
	pass(access.SessionIdle - time.Minute)
	lives("of more than 8 h", s, false)
	s = w.session("a")
	pass(access.SessionIdle)
	lives("that was idle", s, false)
	s = w.session("a")
	w.post(s, "/sign-out", url.Values{})
	lives("that was ended", s, false)
	first := w.session("a")
	again := w.page(first, "POST", "/sign-in", url.Values{"token": {w.tokens["a"]}})
	w.do(again)
	lives("that another took the place of", first, false)
	s = w.session("a")
	w.withoutToken("a")
	lives("whose token was taken out of the file", s, false)
	if a := w.ask("a", "GET", "/v1/permissions", ""); a.status != 401 {
		t.Errorf("a token that was taken out of the file = %d, want 401", a.status)
	}
	w.tokens["c"] = must[string](t)(access.AddToken(w.file, "c", access.Viewer, time.Time{}, time.Now()))
	if a := w.ask("c", "GET", "/v1/permissions", ""); a.status != 200 {
		t.Errorf("a token that was put into the file = %d, want 200", a.status)
	}
}

// Whoever signs in again comes back to where the session ended, and nowhere else.
func TestSignInLeadsBack(t *testing.T) {
	w := newWorld(t)
	ended := &http.Cookie{Name: sessionCookie, Value: "ended"}
	to := func(a answer) string { return a.header.Get("Location") }
	page := pageOf("a") + "/" + w.ids["a"]
	for _, tt := range []struct{ method, path, want string }{
		{"GET", page, "/sign-in?" + url.Values{"why": {"ended"}, "to": {page}}.Encode()},
		{"POST", page + "/delete", "/sign-in?" + url.Values{"why": {"undone"}, "to": {page + "/delete"}}.Encode()},
		{"GET", "/", "/sign-in?why=ended"},
		{"POST", "/sign-out", "/sign-in"},
	} {
		if got := to(w.do(w.page(ended, tt.method, tt.path, url.Values{}))); got != tt.want {
			t.Errorf("%s %s with a session that ended leads to %q, want %q", tt.method, tt.path, got, tt.want)
		}
	}
	leads := func(back string) string {
		a := w.post(nil, "/sign-in", url.Values{"token": {w.tokens["a"]}, "to": {back}})
		session := (&http.Response{Header: a.header}).Cookies()[0]
		if home := to(a); !strings.HasPrefix(home, "/?") || strings.Contains(home, "evil") {
			t.Errorf("a sign-in with %q leads to %q, want the start", back, home)
		}
		direct := to(w.get(session, "/?"+url.Values{"to": {back}}.Encode()))
		if after := to(w.get(session, to(a))); after != direct {
			t.Errorf("after a sign-in with %q the start leads to %q, and else to %q", back, after, direct)
		}
		return direct
	}
	for _, back := range []string{page, page + "/rotate", page + "/delete", pageOf("a") + "/new", pageOf("a")} {
		if got := leads(back); got != back {
			t.Errorf("a sign-in with %q leads to %q, want it to lead back", back, got)
		}
	}
	for _, hostile := range []string{
		"//evil.example/integrations", "https://evil.example", "/\\evil.example", "/merchants/../integrations", "/merchants/a\\evil/integrations", pageOf("a") + "\n", pageOf("a") + "?x",
		"javascript:alert(1)//merchants/a/integrations", "/merchants//evil.example/integrations", "/sign-out", pageOf("a") + "/../../evil", pageOf("b"), pageOf("b") + "/new", "",
	} {
		if got := leads(hostile); got != pageOf("a") {
			t.Errorf("a sign-in with %q leads to %q, want the merchant's list", hostile, got)
		}
	}
}

// Of many at once that would make a second legacy secret, or rotate one twice,
// one succeeds (ASVS 15.4.2).
func TestRaces(t *testing.T) {
	w := newWorld(t)
	at := func(n int, do func() int) (done int) {
		var group sync.WaitGroup
		results := make(chan int, n)
		for range n {
			group.Go(func() { results <- do() })
		}
		group.Wait()
		close(results)
		for status := range results {
			switch status {
			case 201:
				done++
			case 409:
			default:
				t.Errorf("one of many at once = %d, want 201 or 409", status)
			}
		}
		return done
	}
	if n := at(20, func() int { return w.ask("operator", "POST", "/v1/merchants", `{"id":"race"}`).status }); n != 1 {
		t.Errorf("of 20 that made the legacy secret at once %d succeeded, want 1", n)
	}
	session, form := w.session("a"), goodForm()
	if n := at(20, func() int { return w.post(session, pageOf("a")+"/new", form).status }); n != 1 {
		t.Errorf("of 20 times that one form was sent at once %d made a secret, want 1", n)
	}
}
