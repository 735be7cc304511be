package admin

import (
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cmd/postern/admin/access"
	"github.com/postern/postern/cmd/postern/admin/audit"
	"github.com/postern/postern/cmd/postern/admin/desk"
)

// Every change and every refused try is in the audit log: who, what, whose,
// from where, with what result (ASVS 16.3.1 to 16.3.3).
func TestAudit(t *testing.T) {
	w := newWorld(t)
	id := w.ids["a"]
	session := w.session("a")
	tests := []struct {
		name string
		do   func() answer
		want []audit.Entry
	}{
		{"create", func() answer { return w.ask("a", "POST", "/v1/merchants/a/secrets", good) },
			[]audit.Entry{{Who: "a", Action: "secret.create", Merchant: "a", Result: audit.Begun}, {Who: "a", Action: "secret.create", Merchant: "a", Secret: "?", Result: audit.Done}}},
		{"create, wrong", func() answer { return w.ask("a", "POST", "/v1/merchants/a/secrets", `{}`) },
			[]audit.Entry{{Who: "a", Action: "secret.create", Merchant: "a", Result: audit.Refused, Status: 422}}},
		{"create elsewhere", func() answer { return w.ask("a", "POST", "/v1/merchants/b/secrets", good) },
			[]audit.Entry{{Who: "a", Action: "post elsewhere", Merchant: "b", Result: audit.Refused, Status: 404}}},
		{"look elsewhere", func() answer { return w.ask("a", "GET", "/v1/merchants/b/secrets/"+w.ids["b"], "") },
			[]audit.Entry{{Who: "a", Action: "get elsewhere", Merchant: "b", Secret: w.ids["b"], Result: audit.Refused, Status: 404}}},
		{"create as a viewer", func() answer { return w.ask("viewer", "POST", "/v1/merchants/a/secrets", good) },
			[]audit.Entry{{Who: "viewer", Action: "secret.create", Merchant: "a", Result: audit.Refused, Status: 403}}},
		{"rotate", func() answer { return w.ask("operator", "POST", "/v1/merchants/a/secrets/"+id+"/rotate", "") },
			[]audit.Entry{{Who: "operator", Action: "secret.rotate", Merchant: "a", Result: audit.Begun}, {Who: "operator", Action: "secret.rotate", Merchant: "a", Secret: "?", Result: audit.Done}}},
		{"a legacy secret", func() answer { return w.ask("operator", "POST", "/v1/merchants", `{"id":"c"}`) },
			[]audit.Entry{{Who: "operator", Action: "merchant.create", Merchant: "c", Result: audit.Begun}, {Who: "operator", Action: "merchant.create", Merchant: "c", Secret: "?", Result: audit.Done}}},
		{"a second one", func() answer { return w.ask("operator", "POST", "/v1/merchants", `{"id":"c"}`) },
			[]audit.Entry{{Who: "operator", Action: "merchant.create", Merchant: "c", Result: audit.Begun}, {Who: "operator", Action: "merchant.create", Merchant: "c", Result: audit.Refused}}},
		{"delete", func() answer { return w.ask("a", "DELETE", "/v1/merchants/a/secrets/"+id, "") },
			[]audit.Entry{{Who: "a", Action: "secret.delete", Merchant: "a", Secret: id, Result: audit.Begun}, {Who: "a", Action: "secret.delete", Merchant: "a", Secret: id, Result: audit.Done}}},
		{"nobody", func() answer { return w.ask("", "DELETE", "/v1/merchants/a/secrets/"+id, "") },
			[]audit.Entry{{Action: "secret.delete", Merchant: "a", Secret: id, Result: audit.Refused, Status: 401}}},
		{"an unknown token", func() answer { return w.ask("unknown", "GET", "/v1/permissions", "") },
			[]audit.Entry{{Action: "read", Result: audit.Refused, Status: 401}}},
		{"sign-in, wrong", func() answer { return w.post(nil, "/sign-in", url.Values{"token": {"wrong"}}) },
			[]audit.Entry{{Action: "session.begin", Result: audit.Refused, Status: 401}}},
		{"sign-in", func() answer { return w.post(nil, "/sign-in", url.Values{"token": {w.tokens["b"]}}) },
			[]audit.Entry{{Who: "b", Action: "session.begin", Result: audit.Done}}},
		{"a form, wrong", func() answer { return w.post(session, pageOf("a")+"/new", url.Values{"form": {"x"}}) },
			[]audit.Entry{{Who: "a", Action: "secret.create", Merchant: "a", Result: audit.Refused, Status: 422}}},
		{"a look", func() answer { return w.get(session, pageOf("a")) }, nil},
	}
	for _, tt := range tests {
		before := len(w.entries())
		a := tt.do()
		got := w.entries()[before:]
		if len(got) != len(tt.want) {
			t.Errorf("%s = %d, with %d entries, want %d: %+v", tt.name, a.status, len(got), len(tt.want), got)
			continue
		}
		for i, want := range tt.want {
			e := got[i]
			if want.Secret == "?" && e.Secret != "" {
				want.Secret = e.Secret
			}
			if e.Who != want.Who || e.Action != want.Action || e.Merchant != want.Merchant || e.Secret != want.Secret || e.Result != want.Result || want.Status != 0 && e.Status != want.Status {
				t.Errorf("%s: entry %d is %+v, want %+v", tt.name, i, e, want)
			}
			if e.From != "127.0.0.1" || e.Time.IsZero() || e.Request != a.header.Get("X-Request-Id") || (e.Who != "") != (e.Role != "") {
				t.Errorf("%s: entry %d is %+v, want time, address, role and the request's id %s", tt.name, i, e, a.header.Get("X-Request-Id"))
			}
		}
	}
	if r, err := audit.Verify([]string{w.audit}); err != nil || !r.Anchored {
		t.Errorf("Verify = %+v, %v, want it whole", r, err)
	}
}

// While the audit log cannot be written nothing is changed, and that is said;
// reading goes on. When it can be again, so do changes.
func TestAuditUnwritable(t *testing.T) {
	w := newWorld(t)
	session := w.session("a")
	id := w.ids["a"]
	aside := w.audit + ".aside"
	if err := os.Rename(w.audit, aside); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(w.audit, []byte("somebody else's\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	tries := map[string]func() answer{
		"create": func() answer { return w.ask("a", "POST", "/v1/merchants/a/secrets", good) },
		"rotate": func() answer { return w.ask("a", "POST", "/v1/merchants/a/secrets/"+id+"/rotate", "") },
		"delete": func() answer { return w.ask("a", "DELETE", "/v1/merchants/a/secrets/"+id, "") },
		"legacy": func() answer { return w.ask("operator", "POST", "/v1/merchants", `{"id":"c"}`) },
		"form":   func() answer { return w.post(session, pageOf("a")+"/new", goodForm()) },
		"sign in": func() answer {
			return w.post(nil, "/sign-in", url.Values{"token": {w.tokens["b"]}})
		},
	}
	for name, do := range tries {
		w.unchanged(name+" without an audit log", func() {
			if a := do(); a.status != 503 || a.header.Get("Set-Cookie") != "" || strings.Contains(a.body, "somebody") || strings.Contains(a.body, w.audit) {
				t.Errorf("%s without an audit log = %d %s, want 503 and no more than that", name, a.status, a.body)
			}
		})
	}
	if a := w.ask("a", "GET", "/v1/merchants/a/secrets", ""); a.status != 200 {
		t.Errorf("list without an audit log = %d, want 200", a.status)
	}
	if a := w.ask("a", "POST", "/v1/merchants/b/secrets", good); a.status != 404 {
		t.Errorf("a refusal without an audit log = %d, want it to stay 404", a.status)
	}
	if err := os.Rename(aside, w.audit); err != nil {
		t.Fatal(err)
	}
	if a := w.ask("a", "POST", "/v1/merchants/a/secrets", good); a.status != 201 {
		t.Errorf("create with the audit log again = %d, want 201", a.status)
	}
}

// A store that is out of reach, replaced, or emptied while sidecars run, is said
// to be that, and nothing of where it is (ASVS 16.5.1 to 16.5.4). Nothing is said to be
// missing because of it. A panic says nothing at all.
func TestTroubleIsNotTold(t *testing.T) {
	for name, cause := range map[string]func(*world){
		"out of reach": func(w *world) { w.redis.Stop() },
		"replaced":     func(w *world) { w.redis.Do("FLUSHALL"); w.redis.Do("SET", "postern:epoch", "of other keys") },
		"emptied": func(w *world) {
			w.redis.Do("FLUSHALL")
			must[store.Master](w.t)(w.server.desk.Store.Report(w.t.Context(), store.Report{Name: "sidecar", Epoch: "known", Bound: time.Hour}, false))
		},
	} {
		t.Run(name, func(t *testing.T) { tellsNoTrouble(t, cause) })
	}
}

func tellsNoTrouble(t *testing.T, cause func(*world)) {
	w := newWorld(t)
	w.server.mux.HandleFunc("GET /v1/panic", func(http.ResponseWriter, *http.Request) { panic("the key is 42") })
	session := w.session("a")
	cause(w)
	answers := map[string]answer{
		"list":   w.ask("a", "GET", "/v1/merchants/a/secrets", ""),
		"find":   w.ask("a", "GET", "/v1/merchants/a/secrets/"+w.ids["a"], ""),
		"create": w.ask("a", "POST", "/v1/merchants/a/secrets", good),
		"delete": w.ask("a", "DELETE", "/v1/merchants/a/secrets/"+w.ids["a"], ""),
		"page":   w.get(session, pageOf("a")),
		"form":   w.post(session, pageOf("a")+"/new", goodForm()),
		"panic":  w.ask("a", "GET", "/v1/panic", ""),
	}
	if a := w.get(nil, "/readyz"); a.status != 503 || strings.Contains(a.body, w.redis.Addr) {
		t.Errorf("/readyz in trouble = %d %s, want 503", a.status, a.body)
	}
	if a := w.get(nil, "/healthz"); a.status != 200 {
		t.Errorf("/healthz in trouble = %d, want 200: the process lives", a.status)
	}
	for name, a := range answers {
		want := 503
		if name == "panic" {
			want = 500
		}
		for _, text := range []string{w.redis.Addr, "postern:", "dial", "refused", "goroutine", ".go:", "the key is"} {
			if strings.Contains(a.body, text) {
				t.Errorf("%s in trouble says %q:\n%s", name, text, a.body)
			}
		}
		if a.status != want || !strings.Contains(a.body, a.header.Get("X-Request-Id")) {
			t.Errorf("%s in trouble = %d, want %d with the request's id:\n%s", name, a.status, want, a.body)
		}
	}
	if !strings.Contains(w.log.String(), "the key is 42") {
		t.Error("the log lacks the panic")
	}
}

// A record that cannot be read does not say whose it is: an operator may delete
// it where it is listed, and nobody else.
func TestBrokenRecord(t *testing.T) {
	w := newWorld(t)
	id := w.ids["a"]
	w.redis.Do("SET", "postern:secret:"+id, "broken")
	if a := w.ask("a", "DELETE", "/v1/merchants/a/secrets/"+id, ""); a.status != 404 {
		t.Errorf("a merchant deletes a record that cannot be read = %d, want 404", a.status)
	}
	if a := w.ask("operator", "DELETE", "/v1/merchants/b/secrets/"+id, ""); a.status != 404 {
		t.Errorf("an operator deletes it under another merchant = %d, want 404", a.status)
	}
	if a := w.get(w.session("operator"), pageOf("a")); !strings.Contains(a.body, "cannot be read") || !strings.Contains(a.body, id) {
		t.Errorf("the page does not tell of it:\n%s", a.body)
	}
	if a := w.ask("operator", "DELETE", "/v1/merchants/a/secrets/"+id, ""); a.status != 200 {
		t.Errorf("an operator deletes it = %d %s, want 200", a.status, a.body)
	}
}

// withoutToken takes a token out of the file, as an operator would.
func (w *world) withoutToken(name string) {
	w.t.Helper()
	var file struct {
		Tokens []map[string]any `json:"tokens"`
	}
	text := must[[]byte](w.t)(os.ReadFile(w.file))
	if err := json.Unmarshal(text, &file); err != nil {
		w.t.Fatal(err)
	}
	for i, token := range file.Tokens {
		if token["name"] == name {
			file.Tokens = append(file.Tokens[:i], file.Tokens[i+1:]...)
			break
		}
	}
	text = must[[]byte](w.t)(json.Marshal(file))
	if err := os.WriteFile(w.file, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// A result that cannot be recorded undoes what nobody has seen.
func TestUnfinished(t *testing.T) {
	w := newWorld(t)
	draft := authz.Draft{Merchant: "a", Description: "d", Permissions: []authz.Choice{{ID: "trackOrder"}}}
	out := &failing{after: 1}
	d := w.server.desk
	d.Audit = audit.To(out)
	_, err := d.Create(t.Context(), &desk.Visit{Identity: access.Identity{Name: "a", Role: access.Merchant("a")}}, draft)
	if problemOf(err).Status != 503 {
		t.Errorf("Create whose result cannot be recorded = %v, want one that is answered by 503", err)
	}
	if a := w.ask("a", "GET", "/v1/merchants/a/secrets", ""); strings.Count(a.body, `"id":"`+"") != strings.Count(a.body, w.ids["a"])+strings.Count(a.body, `"id":"trackOrder"`) {
		t.Errorf("a secret that nobody has seen is still there: %s", a.body)
	}
}

// failing fails after some writes.
type failing struct{ after int }

func (f *failing) Write(p []byte) (int, error) {
	if f.after--; f.after < 0 {
		return 0, os.ErrClosed
	}
	return len(p), nil
}
