package admin

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/authz/openapi"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cache/store/storetest"
	"github.com/postern/postern/cmd/postern/admin/access"
	"github.com/postern/postern/cmd/postern/admin/audit"
)

// world is a management server on a real Redis, with the tokens of an
// operator, a viewer and two merchants, each of which has a secret.
type world struct {
	t      *testing.T
	redis  *storetest.Server
	server *server
	url    string
	audit  string // file
	file   string // of tokens
	tokens map[string]string
	ids    map[string]string // of the secret of merchants a and b
	log    *lockedBuffer
}

// lockedBuffer is written by several goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func must[T any](t *testing.T) func(T, error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	dir := t.TempDir()
	w := &world{t: t, redis: storetest.Redis(t), audit: filepath.Join(dir, "audit.log"), file: filepath.Join(dir, "tokens.json"), tokens: map[string]string{}, ids: map[string]string{}, log: &lockedBuffer{}}
	connected, err := store.Connect(store.Options{URL: w.redis.URL(), Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connected.Close() })
	keys := must[*authz.Keyring](t)(authz.NewKeyring(""))
	for name, role := range map[string]access.Role{"operator": access.Operator, "viewer": access.Viewer, "a": access.Merchant("a"), "b": access.Merchant("b")} {
		w.tokens[name] = must[string](t)(access.AddToken(w.file, name, role, time.Time{}, time.Now()))
	}
	w.tokens["unknown"] = access.TokenPrefix + strings.Repeat("A", 43)
	w.tokens["expired"] = must[string](t)(access.AddToken(w.file, "expired", access.Operator, time.Now().Add(-time.Hour), time.Now()))
	log := must[*audit.Log](t)(audit.Open(w.audit))
	t.Cleanup(func() { log.Close() })
	tokens := must[*access.Tokens](t)(access.NewTokens(w.file, time.Now()))
	catalog := must[*authz.Catalog](t)(openapi.Load(must[[]byte](t)(os.ReadFile("../../../deploy/catalog.yaml"))))
	o := Options{Store: store.New(connected, keys), Guard: access.Guard{Tokens: tokens}, Audit: log, Log: slog.New(slog.NewJSONHandler(w.log, nil))}
	w.server = must[*server](t)(newServer(o, func() *authz.Catalog { return catalog }))
	w.server.limits = &limits{newLimiter(1000, 1000), newLimiter(1000, 1000), newLimiter(1000, 1000), newLimiter(1000, 1000)} // those that are tested are put back
	served := httptest.NewServer(w.server)
	t.Cleanup(served.Close)
	w.url = served.URL
	for _, merchant := range []string{"a", "b"} {
		w.ids[merchant] = w.made(merchant)["id"].(string)
	}
	return w
}

// answer is what a request got.
type answer struct {
	status int
	header http.Header
	body   string
}

var client = &http.Client{Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (w *world) do(r *http.Request) answer {
	w.t.Helper()
	response, err := client.Do(r)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	return answer{response.StatusCode, response.Header, string(must[[]byte](w.t)(io.ReadAll(response.Body)))}
}

// request is one of the API as the holder of a token, "" of nobody.
func (w *world) request(who, method, path, body string) *http.Request {
	w.t.Helper()
	r := must[*http.Request](w.t)(http.NewRequest(method, w.url+path, strings.NewReader(body)))
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+w.tokens[who])
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return r
}

func (w *world) ask(who, method, path, body string) answer {
	w.t.Helper()
	return w.do(w.request(who, method, path, body))
}

const good = `{"description":"Warehouse","permissions":[{"id":"trackOrder","fields":[]}]}`

// made is a new secret of a merchant.
func (w *world) made(merchant string) (form map[string]any) {
	w.t.Helper()
	a := w.ask("operator", "POST", "/v1/merchants/"+merchant+"/secrets", good)
	if err := json.Unmarshal([]byte(a.body), &form); err != nil || a.status != 201 {
		w.t.Fatalf("create = %d %s, %v, want 201", a.status, a.body, err)
	}
	return form
}

// session signs in, and returns the cookie.
func (w *world) session(who string) *http.Cookie {
	w.t.Helper()
	a := w.post(nil, "/sign-in", url.Values{"token": {w.tokens[who]}})
	for _, c := range (&http.Response{Header: a.header}).Cookies() {
		if c.Name == sessionCookie {
			return c
		}
	}
	w.t.Fatalf("sign-in = %d %s, want a session", a.status, a.body)
	return nil
}

// page is a request of the page, within a session, if there is one.
func (w *world) page(session *http.Cookie, method, path string, form url.Values) *http.Request {
	w.t.Helper()
	r := must[*http.Request](w.t)(http.NewRequest(method, w.url+path, strings.NewReader(form.Encode())))
	if session != nil {
		r.AddCookie(session)
	}
	if method == "POST" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

func (w *world) get(session *http.Cookie, path string) answer {
	w.t.Helper()
	return w.do(w.page(session, "GET", path, nil))
}

func (w *world) post(session *http.Cookie, path string, form url.Values) answer {
	w.t.Helper()
	return w.do(w.page(session, "POST", path, form))
}

// goodForm is what the form of a new secret is sent with. Each time it is of
// another showing.
func goodForm() url.Values {
	return url.Values{"form": {newForm()}, "description": {"Warehouse"}, "permission": {"trackOrder"}, "which": {"same"}}
}

// entries are those of the audit log.
func (w *world) entries() (all []audit.Entry) {
	w.t.Helper()
	for line := range strings.Lines(string(must[[]byte](w.t)(os.ReadFile(w.audit)))) {
		var e audit.Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			w.t.Fatalf("line of the audit log %q: %v", line, err)
		}
		all = append(all, e)
	}
	return all
}

// stored is all that the store holds.
func (w *world) stored() string {
	w.t.Helper()
	return fmt.Sprint(w.redis.Do("EVAL", `
local out = {}
for _, key in ipairs(redis.call('KEYS', '*')) do out[#out + 1] = key .. redis.call('DUMP', key) end
table.sort(out)
return table.concat(out)`, 0))
}

// unchanged does something and demands that the store is as before.
func (w *world) unchanged(what string, do func()) {
	w.t.Helper()
	before := w.stored()
	do()
	if w.stored() != before {
		w.t.Errorf("%s changed the store", what)
	}
}

// raw sends bytes as they are, and returns the status of the answer.
func (w *world) raw(text string) int {
	w.t.Helper()
	conn := must[net.Conn](w.t)(net.Dial("tcp", strings.TrimPrefix(w.url, "http://")))
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(conn, text)
	response, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

var requestID = regexp.MustCompile(`[A-Z2-7]{16}`)
