package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// office is a management server that runs, and a client of it.
type office struct {
	s        *shell
	url      string
	tokens   string // file
	audit    string // file
	out, log *buffer
	stop     context.CancelFunc
	exit     chan int // its exit code, once
}

// token adds a token with a role, and returns its text.
func (s *shell) token(tokens, name, role string, more ...string) string {
	s.t.Helper()
	text := strings.TrimSpace(s.ok("admin token new --tokens "+tokens+" --name "+name+" --role "+role, more...))
	s.watch(text, 1)
	return text
}

// manage starts a management server on a port of its own. It has an operator's
// token, and those that the test adds.
func (s *shell) manage(flags string) *office {
	s.t.Helper()
	o := s.launchOffice(flags)
	o.await("serve", func() bool { return strings.Contains(o.log.String(), `"msg":"serving"`) })
	_, after, _ := strings.Cut(o.log.String(), `"listen":["`)
	address, _, _ := strings.Cut(after, `"`)
	o.url = "http://" + address
	return o
}

func (s *shell) launchOffice(flags string) *office {
	s.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	o := &office{
		s: s, tokens: filepath.Join(s.dir, "tokens.json"), audit: filepath.Join(s.dir, "audit.log"),
		out: &buffer{}, log: &buffer{}, stop: stop, exit: make(chan int, 1),
	}
	s.vars["TOKENS"], s.vars["AUDIT"] = o.tokens, o.audit
	s.vars["OPERATOR"] = s.token(o.tokens, "operator", "operator")
	args := s.words("admin --listen 127.0.0.1:0 --tokens $TOKENS --audit $AUDIT "+flags, nil)
	env := s.env
	go func() {
		o.exit <- run(ctx, args, process{Getenv: func(name string) string { return env[name] }, Stdout: o.out, Stderr: o.log})
	}()
	s.t.Cleanup(func() {
		o.ends()
		s.heard(o.log.String(), o.out.String(), s.read(o.audit), s.read(o.tokens))
	})
	return o
}

func (o *office) await(what string, ok func() bool) {
	o.s.t.Helper()
	for end := time.Now().Add(10 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			o.s.t.Fatalf("the management server does not %s; its log:\n%s", what, o.log)
		}
	}
}

// ends stops the server and demands that it ends well, and soon.
func (o *office) ends() {
	o.s.t.Helper()
	o.stop()
	select {
	case code := <-o.exit:
		o.exit <- code
		if code != exitDone {
			o.s.t.Errorf("admin = exit %d, want 0; its log:\n%s", code, o.log)
		}
	case <-time.After(15 * time.Second):
		o.s.t.Errorf("admin does not end within 15 s; its log:\n%s", o.log)
	}
}

// reply is an answer of the management API.
type reply struct {
	status int
	header http.Header
	text   string
}

// ask asks the API as the holder of a token. A body is JSON.
func (o *office) ask(token, method, path, body string) reply {
	o.s.t.Helper()
	r, err := http.NewRequest(method, o.url+path, strings.NewReader(body))
	if err != nil {
		o.s.t.Fatal(err)
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	return o.do(r)
}

var patient = &http.Client{Timeout: 30 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}

func (o *office) do(r *http.Request) reply {
	o.s.t.Helper()
	response, err := patient.Do(r)
	if err != nil {
		o.s.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		o.s.t.Fatalf("%s %s: %v", r.Method, r.URL.Path, err)
	}
	return reply{response.StatusCode, response.Header, string(text)}
}

// into demands a status, and reads the body.
func (a reply) into(t *testing.T, status int, value any) {
	t.Helper()
	if a.status != status {
		t.Fatalf("answer %d %s, want %d", a.status, a.text, status)
	}
	if err := json.Unmarshal([]byte(a.text), value); err != nil {
		t.Fatalf("answer %s: %v", a.text, err)
	}
}
