package admin

import (
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// sample is a request for a route that does what the route is for.
type sample struct {
	body string // JSON, of the API
	form bool   // goodForm, of the page
}

// samples has a row for every route: one without is not tested, and fails.
var samples = map[string]sample{
	"POST /v1/merchants":                                  {body: `{"id":"new"}`},
	"GET /v1/merchants/{merchant}/secrets":                {},
	"POST /v1/merchants/{merchant}/secrets":               {body: good},
	"GET /v1/merchants/{merchant}/secrets/{id}":           {},
	"DELETE /v1/merchants/{merchant}/secrets/{id}":        {},
	"POST /v1/merchants/{merchant}/secrets/{id}/rotate":   {},
	"GET /v1/permissions":                                 {},
	"GET /openapi.json":                                   {},
	"GET /{$}":                                            {},
	"GET /merchants":                                      {},
	"GET /sign-in":                                        {},
	"POST /sign-in":                                       {form: true},
	"POST /sign-out":                                      {form: true},
	"GET /merchants/{merchant}/integrations":              {},
	"GET /merchants/{merchant}/integrations/new":          {},
	"POST /merchants/{merchant}/integrations/new":         {form: true},
	"GET /merchants/{merchant}/integrations/{id}":         {},
	"GET /merchants/{merchant}/integrations/{id}/rotate":  {},
	"POST /merchants/{merchant}/integrations/{id}/rotate": {form: true},
	"GET /merchants/{merchant}/integrations/{id}/delete":  {},
	"POST /merchants/{merchant}/integrations/{id}/delete": {form: true},
	"GET /assets/{name}":                                  {},
	"GET /healthz":                                        {},
	"GET /readyz":                                         {},
}

// send sends a route's sample as somebody, for a secret of a merchant.
func (w *world) send(r route, who, merchant, id string) answer {
	w.t.Helper()
	row, ok := samples[r.pattern]
	if !ok {
		w.t.Fatalf("route %s has no row in samples: say there how it is used", r.pattern)
	}
	method, path, _ := strings.Cut(r.pattern, " ")
	path = strings.NewReplacer("{merchant}", merchant, "{id}", id, "{$}", "", "{name}", "style.css").Replace(path)
	if isAPI(path) {
		return w.ask(who, method, path, row.body)
	}
	var session *http.Cookie
	if _, known := w.tokens[who]; known && who != "unknown" && who != "expired" {
		session = w.session(who)
	} else if who != "" {
		session = &http.Cookie{Name: sessionCookie, Value: who}
	}
	var form url.Values
	if row.form {
		form = goodForm()
	}
	return w.do(w.page(session, method, path, form))
}

func TestEveryRouteHasARow(t *testing.T) {
	w := newWorld(t)
	var patterns []string
	for _, r := range w.server.routes() {
		patterns = append(patterns, r.pattern)
		if _, ok := samples[r.pattern]; !ok {
			t.Errorf("route %s has no row in samples", r.pattern)
		}
	}
	for pattern := range samples {
		if !slices.Contains(patterns, pattern) {
			t.Errorf("samples has a row for %s, which is no route", pattern)
		}
	}
}

// Every route without, with an expired, with a wrong credential, and with one
// of too weak a role (ASVS 8.2.1, 8.3.1).
func TestWhoMay(t *testing.T) {
	w := newWorld(t)
	refused := func(r route, who string, want int) {
		t.Helper()
		w.unchanged(r.pattern+" as "+who, func() {
			got := w.send(r, who, "a", w.ids["a"])
			if !isAPI(strings.Fields(r.pattern)[1]) && want == 401 {
				want = 303 // to sign in
				if to := got.header.Get("Location"); !strings.HasPrefix(to, "/sign-in") {
					t.Errorf("%s as %q leads to %q, want /sign-in", r.pattern, who, to)
				}
			}
			if got.status != want {
				t.Errorf("%s as %q = %d, want %d", r.pattern, who, got.status, want)
			}
		})
	}
	for _, r := range w.server.routes() {
		if r.rule == open {
			continue
		}
		for _, who := range []string{"", "unknown", "expired"} {
			refused(r, who, 401)
		}
		switch r.rule {
		case operators:
			refused(r, "a", 404)
			refused(r, "viewer", 403)
		case changers:
			refused(r, "viewer", 403)
		}
	}
	// What is open is open, and what may be is done: the refusals are not vacuous.
	for _, r := range w.server.routes() {
		if got := w.send(r, "operator", "a", w.made("a")["id"].(string)); got.status >= 400 && r.pattern != "GET /merchants" && r.pattern != "POST /sign-in" {
			t.Errorf("%s as operator = %d %s, want it done", r.pattern, got.status, got.body)
		}
	}
}

// No route lets two merchants see each other: another's things are answered
// like what is not there, byte for byte, and stay as they are (ASVS 8.2.2).
func TestTenancy(t *testing.T) {
	w := newWorld(t)
	nothing := strings.Repeat("0", 32)
	for _, r := range w.server.routes() {
		if !strings.Contains(r.pattern, "{merchant}") {
			continue
		}
		missing := w.send(r, "a", "nobody", nothing)
		for _, merchant := range []string{"a", "b"} {
			if merchant == "a" && !strings.Contains(r.pattern, "{id}") {
				continue
			}
			w.unchanged(r.pattern, func() {
				got := w.send(r, "a", merchant, w.ids["b"])
				if got.status != 404 || got.body != missing.body {
					t.Errorf("%s of merchant %s with an id of b, as a = %d %s, want that of what is not there: %s", r.pattern, merchant, got.status, got.body, missing.body)
				}
				if same := w.send(r, "a", merchant, nothing); same.body != got.body || same.status != got.status {
					t.Errorf("%s of merchant %s tells an id of b from one that is not there", r.pattern, merchant)
				}
			})
		}
		if strings.Contains(r.pattern, "{id}") { // an operator, too, finds a secret under its merchant alone
			if got := w.send(r, "operator", "a", w.ids["b"]); got.status != 404 {
				t.Errorf("%s with an id of b under a, as operator = %d, want 404", r.pattern, got.status)
			}
		}
	}
}

// Router, description and design name the same operations.
func TestContract(t *testing.T) {
	w := newWorld(t)
	design := []string{ // the table of the API, as it was promised
		"DELETE /v1/merchants/{merchant}/secrets/{id}", "GET /openapi.json", "GET /v1/merchants/{merchant}/secrets", "GET /v1/merchants/{merchant}/secrets/{id}",
		"GET /v1/permissions", "POST /v1/merchants", "POST /v1/merchants/{merchant}/secrets", "POST /v1/merchants/{merchant}/secrets/{id}/rotate",
	}
	var routed []string
	for _, r := range w.server.routes() {
		if isAPI(strings.Fields(r.pattern)[1]+"/") || isAPI(strings.Fields(r.pattern)[1]) {
			routed = append(routed, r.pattern)
		}
	}
	slices.Sort(routed)
	if got := w.server.contract.Operations(); !slices.Equal(got, design) || !slices.Equal(routed, design) {
		t.Errorf("the description has %v\nand the router %v\nwant both to have %v", got, routed, design)
	}
	served := w.ask("viewer", "GET", "/openapi.json", "")
	if served.status != 200 || !strings.HasPrefix(served.body, "{") || !strings.Contains(served.body, `"openapi":"3.0.3"`) {
		t.Errorf("GET /openapi.json = %d %.80s, want the description as JSON", served.status, served.body)
	}
}

// Every answer, also an error, has what keeps a page from being misused (ASVS
// 3.4.1 to 3.4.8), and no page has script or style within.
func TestHeaders(t *testing.T) {
	w := newWorld(t)
	inline := regexp.MustCompile(`(?i)<style|<script(>| [^>]*>[^<])| style=| on[a-z]+=|javascript:`)
	check := func(what string, a answer) {
		t.Helper()
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Cross-Origin-Opener-Policy": "same-origin", "Cross-Origin-Resource-Policy": "same-origin",
		} {
			if got := a.header.Get(name); got != want {
				t.Errorf("%s: %s = %q, want %q", what, name, got, want)
			}
		}
		if got := strings.TrimSuffix(a.header.Get("Content-Security-Policy"), "; script-src 'self'"); got != policy {
			t.Errorf("%s: Content-Security-Policy = %q, want %q", what, got, policy)
		}
		if !requestID.MatchString(a.header.Get("X-Request-Id")) {
			t.Errorf("%s: X-Request-Id = %q, want one", what, a.header.Get("X-Request-Id"))
		}
		if found := inline.FindString(a.body); strings.Contains(a.header.Get("Content-Type"), "html") && found != "" {
			t.Errorf("%s: the page has %q in it", what, found)
		}
	}
	for _, r := range w.server.routes() {
		for _, who := range []string{"", "a", "viewer", "operator"} {
			check(r.pattern+" as "+who, w.send(r, who, "a", w.made("a")["id"].(string)))
		}
	}
	check("nowhere", w.get(nil, "/nowhere"))
	check("another method", w.ask("a", "PUT", "/v1/permissions", ""))
	evil := w.request("a", "GET", "/v1/permissions", "")
	evil.Host = "evil.example"
	check("another host", w.do(evil))
}
