package admin

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Only what comes from the page itself, or from no browser, changes anything
// (ASVS 3.5.1 to 3.5.3). In each row a form with a session is sent.
func TestCrossSiteRequests(t *testing.T) {
	w := newWorld(t)
	session := w.session("a")
	tests := []struct {
		site, origin string // Sec-Fetch-Site, Origin; "" is left out
		done         bool
	}{
		{"", "", true}, // no browser of today
		{"same-origin", "", true},
		{"same-origin", "null", true}, // as Referrer-Policy: no-referrer makes it
		{"same-origin", w.url, true},
		{"none", "", true}, // typed by the user
		{"", w.url, true},
		{"same-site", "", false},
		{"same-site", w.url, false},
		{"cross-site", "", false},
		{"cross-site", w.url, false},
		{"cross-site", "https://evil.example", false},
		{"", "https://evil.example", false},
		{"", "null", false},
		{"nonsense", "", false},
	}
	for _, tt := range tests {
		r := w.page(session, "POST", pageOf("a")+"/new", goodForm())
		for name, value := range map[string]string{"Sec-Fetch-Site": tt.site, "Origin": tt.origin} {
			if value != "" {
				r.Header.Set(name, value)
			}
		}
		before := w.stored()
		got := w.do(r)
		if changed := w.stored() != before; changed != tt.done || (got.status == 201) != tt.done {
			t.Errorf("Sec-Fetch-Site %q, Origin %q = %d, changed %v, want it done: %v", tt.site, tt.origin, got.status, changed, tt.done)
		}
	}
	for _, kind := range []string{"", "text/plain", "application/json", "multipart/form-data; boundary=x"} {
		r := w.page(session, "POST", pageOf("a")+"/new", goodForm())
		r.Header.Set("Content-Type", kind)
		w.unchanged("a form sent as "+kind, func() {
			if got := w.do(r); got.status != 415 {
				t.Errorf("a form sent as %q = %d, want 415", kind, got.status)
			}
		})
		if kind == "application/json" {
			continue
		}
		r = w.request("a", "POST", "/v1/merchants/a/secrets", good)
		r.Header.Set("Content-Type", kind)
		w.unchanged("JSON sent as "+kind, func() {
			if got := w.do(r); got.status != 415 {
				t.Errorf("JSON sent as %q = %d, want 415", kind, got.status)
			}
		})
	}
	// A session is no credential of the API, nor a token one of the page.
	r := w.page(session, "GET", "/v1/merchants/a/secrets", nil)
	if got := w.do(r); got.status != 401 {
		t.Errorf("the API with a session = %d, want 401", got.status)
	}
	r = w.request("a", "GET", pageOf("a"), "")
	if got := w.do(r); got.status != 303 {
		t.Errorf("the page with a token = %d, want 303", got.status)
	}
}

// No GET, HEAD or OPTIONS changes anything.
func TestSafeMethods(t *testing.T) {
	w := newWorld(t)
	session := w.session("operator")
	w.unchanged("a safe method", func() {
		for _, r := range w.server.routes() {
			_, path, _ := strings.Cut(r.pattern, " ")
			path = strings.NewReplacer("{merchant}", "a", "{id}", w.ids["a"], "{$}", "", "{name}", "style.css").Replace(path)
			for _, method := range []string{"GET", "HEAD", "OPTIONS"} {
				w.ask("operator", method, path, "")
				w.do(w.page(session, method, path+"?description=x&permission=trackOrder&form=1&which=same", nil))
			}
		}
	})
}

// Names that were bound to our address are not served (ASVS 4.1.3), nor what
// two readers could take for two paths.
func TestRequestLines(t *testing.T) {
	w := newWorld(t)
	w.server.hosts["admin.example"] = true
	port := w.url[strings.LastIndex(w.url, ":"):]
	authorization := "Authorization: Bearer " + w.tokens["operator"] + "\r\nConnection: close\r\n"
	get := func(target, hosts string) string {
		return "GET " + target + " HTTP/1.1\r\n" + hosts + authorization + "\r\n"
	}
	const path = "/v1/merchants/a/secrets"
	tests := []struct {
		name, text string
		want       int
	}{
		{"its name", get(path, "Host: 127.0.0.1"+port+"\r\n"), 200},
		{"localhost", get(path, "Host: LocalHost"+port+"\r\n"), 200},
		{"loopback of IPv6", get(path, "Host: [::1]"+port+"\r\n"), 200},
		{"a name that was given", get(path, "Host: admin.example\r\n"), 200},
		{"an unknown name", get(path, "Host: evil.example"+port+"\r\n"), 421},
		{"a name that begins alike", get(path, "Host: localhost.evil.example\r\n"), 421},
		{"another address", get(path, "Host: 10.0.0.1\r\n"), 421},
		{"none", get(path, "Host:\r\n"), 421},
		{"none at all", get(path, ""), 400},
		{"two", get(path, "Host: localhost\r\nHost: localhost\r\n"), 400},
		{"two in one", get(path, "Host: localhost, evil.example\r\n"), 400},
		{"with a user", get(path, "Host: localhost@evil.example\r\n"), 421},
		{"absolute", get("http://localhost"+path, "Host: localhost\r\n"), 400},
		{"absolute, another's", get("http://evil.example"+path, "Host: localhost\r\n"), 400},
	}
	for hostile, want := range map[string]int{
		"//v1/merchants/a/secrets": 404, "/v1//merchants/a/secrets": 404, "/v1/./merchants/a/secrets": 404, "/v1/merchants/b/../a/secrets": 404,
		"/v1/merchants/%61/secrets": 404, "/v1/merchants/a%2Fsecrets": 404, "/V1/merchants/a/secrets": 404, "/v1/merchants/a/secrets/": 404,
		"/v1/merchants/a/secrets;x": 404, "/v1/merchants/a;b/secrets": 404, "/v1/merchants/../secrets": 404, "/v1/merchants/a/secrets/..%2f" + "x": 404,
		"/v1/merchants/a/secrets%00": 404, "/v1/merchants/a\\b/secrets": 404, "*": 404,
	} {
		tests = append(tests, struct {
			name, text string
			want       int
		}{hostile, get(hostile, "Host: localhost\r\n"), want})
	}
	for _, method := range []string{"TRACE", "PUT", "PATCH", "CONNECT", "get", "BREW"} {
		tests = append(tests, struct {
			name, text string
			want       int
		}{method, method + " " + path + " HTTP/1.1\r\nHost: localhost\r\n" + authorization + "\r\n", 405})
	}
	for _, tt := range tests {
		got := w.raw(tt.text)
		if got != tt.want && !(tt.want == 405 && got == 400) && !(tt.want == 421 && got == 400) && !(tt.want == 400 && got == 421) {
			t.Errorf("%s = %d, want %d", tt.name, got, tt.want)
		}
	}
}

// What people typed is shown as text, whatever it holds. What could hide or
// reorder text is refused (ASVS 1.2.1, 2.2.1).
func TestDescriptions(t *testing.T) {
	w := newWorld(t)
	session := w.session("a")
	var markup []string
	for i, text := range []string{
		`<script>alert(%d)</script>`, `</script><script>alert(%d)</script>`, `<img src=x onerror=alert(%d)>`, `"><svg/onload=alert(%d)>`, `' onfocus=alert(%d) autofocus '`,
		`</textarea><script>alert(%d)</script>`, `</title><script>alert(%d)</script>`, `<!--<script>alert(%d)//-->`, `<iframe srcdoc="<script>alert(%d)</script>">`, `javascript:alert(%d)`,
		`{{.Secret}}%d`, `<a href=//evil.example/%d>x</a>`, `<style>*{display:none}</style>%d`, `<base href=//evil.example/%d>`, `<meta http-equiv=refresh content=0>%d`,
		`&lt;script&gt;%d`, `=cmd|' /C calc'!A%d`, `<form action=//evil.example><button>%d`, `Größe “%d” 日本`, "<bdo dir=rtl>%d</bdo>",
	} {
		text = fmt.Sprintf(text, i)
		markup = append(markup, text)
		form := goodForm()
		form.Set("description", text)
		a := w.post(session, pageOf("a")+"/new", form)
		if a.status != 201 {
			t.Errorf("description %q = %d, want 201", text, a.status)
		}
		form.Set("form", newForm())
		form.Del("permission") // so that the form comes back with it
		markup, again := markup, w.post(session, pageOf("a")+"/new", form)
		for _, body := range []string{a.body, again.body, w.get(session, pageOf("a")).body} {
			for _, text := range markup {
				if strings.ContainsAny(text, "<\"") && strings.Contains(body, text) {
					t.Errorf("description %q is on a page as it was typed, not as text", text)
				}
			}
		}
	}
	for _, text := range []string{
		"a\x00b", "a\x1b[31mb", "a\r\nb", "a\u202eb", "a\u2066b", "a\u2069b", "a\u200fb", "a\u2028b", "a\u0085b", "a\x7fb", strings.Repeat("x", 201), " ", "a\xffb",
	} {
		form := goodForm()
		form.Set("description", text)
		w.unchanged("description "+text[:min(len(text), 10)], func() {
			if a := w.post(session, pageOf("a")+"/new", form); a.status != 422 {
				t.Errorf("description %.20q = %d, want 422", text, a.status)
			}
		})
	}
}

// The raw secret is in one answer, that of its creation, and nowhere else
// (ASVS 14.2.1, 16.2.5).
func TestShownOnce(t *testing.T) {
	w := newWorld(t)
	session := w.session("a")
	form := goodForm()
	first := w.post(session, pageOf("a")+"/new", form)
	_, after, _ := strings.Cut(first.body, `id="raw"`)
	_, after, _ = strings.Cut(after, ">")
	token, _, _ := strings.Cut(after, "<")
	if len(token) != 28 {
		t.Fatalf("the page of a new secret has no secret:\n%s", first.body)
	}
	made := w.made("a")
	tokens := []string{token, made["secret"].(string)}
	var said strings.Builder
	w.unchanged("the same form again", func() {
		again := w.post(session, pageOf("a")+"/new", form)
		if again.status != http.StatusConflict {
			t.Errorf("the same form again = %d, want 409", again.status)
		}
		said.WriteString(again.body)
	})
	id := made["id"].(string)
	for _, path := range []string{"", "/" + id, "/" + id + "/rotate", "/" + id + "/delete"} {
		said.WriteString(w.get(session, pageOf("a")+path).body)
	}
	said.WriteString(w.ask("a", "GET", "/v1/merchants/a/secrets", "").body + w.ask("a", "GET", "/v1/merchants/a/secrets/"+id, "").body)
	// People paste tokens in wrong places: those do not reach the logs either.
	pasted := strings.Replace(good, "Warehouse", "the old one was "+tokens[0], 1)
	w.ask("a", "POST", "/v1/merchants/a/secrets", pasted)
	w.ask("operator", "GET", "/v1/merchants/"+tokens[0]+"/secrets", "")
	w.ask("a", "DELETE", "/v1/merchants/"+tokens[0]+"/secrets/"+tokens[1], "")
	w.ask("operator", "POST", "/v1/merchants/"+w.tokens["a"]+"/secrets", good)
	w.post(nil, "/sign-in", map[string][]string{"token": {tokens[0]}})
	for _, e := range w.entries() {
		fmt.Fprintln(&said, e)
	}
	said.WriteString(w.log.String())
	for _, token := range append(tokens, w.tokens["a"]) {
		if middle := token[4 : len(token)-4]; strings.Contains(said.String(), middle) {
			t.Errorf("the token %s was said again", token)
		}
	}
}
