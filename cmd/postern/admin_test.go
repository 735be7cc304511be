package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/postern/postern/authz"
)

const oneSecret = `{"description":"d","permissions":[{"id":"trackOrder"}]}`

// A token is shown once, alone on stdout, and its file keeps none.
func TestAdminToken(t *testing.T) {
	s := newShell(t)
	s.vars["TOKENS"] = s.dir + "/tokens.json"
	plain := s.run("admin token new --tokens $TOKENS --name ci --role operator")
	token := strings.TrimSpace(plain.stdout)
	s.watch(token, 1)
	if plain.code != exitDone || plain.stdout != token+"\n" || !strings.HasPrefix(token, "postern_admin_") || len(token) != 57 {
		t.Errorf("admin token new prints %q, exit %d, want the token alone", plain.stdout, plain.code)
	}
	var form struct {
		Name, Role, Token    string
		CreatedAt, ExpiresAt *time.Time
	}
	members := s.members("admin token new --tokens $TOKENS --name shop --role merchant:m1 --expires 90d")
	text, _ := json.Marshal(members)
	if err := json.Unmarshal(text, &form); err != nil || form.Name != "shop" || form.Role != "merchant:m1" || members["expires_at"] == nil || members["created_at"] == nil {
		t.Errorf("admin token new --json = %v", members)
	}
	s.watch(form.Token, 1)
	if info, err := os.Stat(s.vars["TOKENS"]); err != nil || info.Mode() != 0o600 {
		t.Errorf("the token file has mode %v, %v, want 0600", info.Mode(), err)
	}
	s.heard(s.read(s.vars["TOKENS"]))
	before := s.read(s.vars["TOKENS"])
	s.refused(s.run("admin token new --tokens $TOKENS --name x --role viewer --expires 2020-01-01T00:00:00Z"), "in the past")
	s.refused(s.run("admin token new --tokens $TOKENS --name", "a b", "--role", "viewer"), "name")
	s.ended(s.run("admin token new --tokens $TOKENS --name x --role root"), exitUsage, "write operator, viewer or merchant:ID")
	s.ended(s.run("admin token new --name x --role viewer"), exitUsage, "--tokens")
	if s.read(s.vars["TOKENS"]) != before {
		t.Error("what was refused changed the token file")
	}
}

// Without a way to tell who asks it does not start, nor where the world could
// listen in, nor without an audit log that was asked for.
func TestAdminDoesNotStart(t *testing.T) {
	s := newShell(t)
	s.vars["TOKENS"] = s.dir + "/tokens.json"
	s.token(s.vars["TOKENS"], "ci", "operator")
	s.vars["EMPTY"], s.vars["BROKEN"] = s.write("empty.json", `{"tokens":[]}`), s.write("broken.log", "hello\n")
	const line = "admin --listen 127.0.0.1:0 "
	tests := []struct {
		line string
		code int
		says string
	}{
		{line, exitUsage, "nobody could be told from anybody"},
		{line + "--tokens $DIR/none.json", exitRefused, "admin token new"},
		{line + "--tokens $EMPTY", exitRefused, "holds no live token"},
		{line + "--oidc-issuer https://issuer.example", exitRefused, "--oidc-audience"},
		{line + "--oidc-audience x --tokens $TOKENS", exitUsage, "--oidc-issuer is missing"},
		{"admin --tokens $TOKENS", exitUsage, "--listen"},
		{"admin --tokens $TOKENS --listen 0.0.0.0:0", exitRefused, "--insecure"},
		{"admin --tokens $TOKENS --listen unix:relative", exitRefused, "absolute path"},
		{line + "--tokens $TOKENS --audit $BROKEN", exitRefused, "no line of an audit log"},
		{line + "--tokens $TOKENS --audit $DIR/none/audit.log", exitRefused, "no such file"},
		{line + "--tokens $TOKENS --audit $DIR", exitRefused, "audit log"},
		{line + "--tokens $TOKENS --audit /dev/full", exitRefused, "no regular file"},
		{line + "--tokens $TOKENS --catalog $EMPTY", exitRefused, "catalog"},
		{line + "--tokens $TOKENS --redis redis://127.0.0.1:1", exitRefused, "check --redis"},
		{line + "--tokens $TOKENS --socket-mode x", exitUsage, "--socket-mode"},
	}
	for _, tt := range tests {
		s.ended(s.run(tt.line), tt.code, tt.says)
	}
}

// A unix socket is as good, with the mode that was asked for; so is TLS, which
// says that it is here to stay.
func TestAdminListens(t *testing.T) {
	s := newShell(t)
	dir := socketDir(t)
	id := s.identity("server")
	port := freePort(t)
	s.manage("--listen unix:" + dir + "/admin.sock --socket-mode 0600 --listen 0.0.0.0:" + port + " --tls-cert " + id.certFile + " --tls-key " + id.keyFile + " --host Admin.Example")
	if info, err := os.Stat(dir + "/admin.sock"); err != nil || info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket has mode %v, %v, want 0600", info.Mode(), err)
	}
	plain := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", dir+"/admin.sock")
	}}}
	secure := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: id.pool, ServerName: "127.0.0.1"},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", "127.0.0.1:"+port)
		},
	}}
	tests := []struct {
		name, url string
		client    *http.Client
		want      int
	}{
		{"socket, whatever the host", "http://anything/v1/permissions", plain, 200},
		{"socket, a probe", "http://anything/readyz", plain, 200},
		{"socket, the page of an unknown host", "http://anything/sign-in", plain, 421},
		{"TLS", "https://127.0.0.1/v1/permissions", secure, 200},
		{"TLS, a name that was given", "https://admin.example/v1/permissions", secure, 200},
		{"TLS, another name", "https://evil.example/v1/permissions", secure, 421},
	}
	s.ok("health unix:" + dir + "/admin.sock")
	for _, tt := range tests {
		r, err := http.NewRequest("GET", tt.url, nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+s.vars["OPERATOR"])
		response, err := tt.client.Do(r)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		response.Body.Close()
		if lasting := response.Header.Get("Strict-Transport-Security") != ""; response.StatusCode != tt.want || lasting != (tt.client == secure) {
			t.Errorf("%s = %d, HSTS %v, want %d", tt.name, response.StatusCode, lasting, tt.want)
		}
	}
}

// A secret that the API makes is one like any other: the gate takes it, the
// command line shows it, and its deletion is applied.
func TestAdminSecretIsASecret(t *testing.T) {
	s := newShell(t)
	g := s.serve("")
	o := s.manage("")
	operator := s.vars["OPERATOR"]
	var made, shown authz.Form
	o.ask(operator, "POST", "/v1/merchants/m1/secrets", oneSecret).into(t, 201, &made)
	s.watch(made.Secret, 0)
	if shown = s.form("secret show", made.ID); shown.Redacted != made.Redacted || shown.Merchant != "m1" {
		t.Errorf("secret show = %+v, want what the API made: %+v", shown, made)
	}
	g.answers(made.Secret, "GET /api/3/orders/1/tracking", 200, "granted")
	var deleted struct {
		ID       string
		Sidecars struct{ Applied, Known int }
	}
	o.ask(operator, "DELETE", "/v1/merchants/m1/secrets/"+made.ID, "").into(t, 200, &deleted)
	if deleted.Sidecars.Applied != 1 || deleted.Sidecars.Known != 1 {
		t.Errorf("DELETE = %+v, want it applied by 1 of 1 sidecars", deleted)
	}
	g.answers(made.Secret, "GET /api/3/orders/1/tracking", 401, "deleted")
	o.ask(operator, "GET", "/v1/merchants/m1/secrets/"+made.ID, "").into(t, 404, &struct{}{})
	r := s.run("audit verify $AUDIT")
	s.ended(r, exitDone)
	if !strings.Contains(r.stdout, "whole: 4 entries, from 1 to 4") {
		t.Errorf("audit verify prints %q, want 4 entries", r.stdout)
	}
	if members := s.members("audit verify $AUDIT"); members["entries"] != 4.0 || members["anchored"] != true {
		t.Errorf("audit verify --json = %v", members)
	}
	spoiled := s.write("spoiled.log", strings.Replace(s.read(o.audit), "m1", "m2", 1))
	s.refused(s.run("audit verify "+spoiled), "line 1", "it was changed")
	s.refused(s.run("audit verify $DIR/none"), "the audit log cannot be read", "no such file")
	s.ended(s.run("audit verify"), exitUsage, "name the audit log")
}

// The disk is full: while it is, no change is made, and none is lost; the
// gate does not care. When there is room again, all goes on.
func TestAdminWithFullDisk(t *testing.T) {
	s := newShell(t)
	g := s.serve("")
	legacy := s.form("merchant create m2")
	s.vars["TOKENS"], s.vars["AUDIT"] = s.dir+"/tokens.json", s.dir+"/audit.log"
	token := s.token(s.vars["TOKENS"], "ci", "operator")
	port := freePort(t)
	p := s.program("admin --listen 127.0.0.1:" + port + " --tokens $TOKENS --audit $AUDIT")
	o := &office{s: s, url: "http://127.0.0.1:" + port, log: p.log}
	o.await("serve", func() bool { return strings.Contains(p.log.String(), `"msg":"serving"`) })

	limit := func(bytes uint64) {
		t.Helper()
		var old unix.Rlimit
		if err := unix.Prlimit(p.process.Pid, unix.RLIMIT_FSIZE, nil, &old); err != nil {
			t.Fatal(err)
		}
		if err := unix.Prlimit(p.process.Pid, unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: min(bytes, old.Max), Max: old.Max}, nil); err != nil {
			t.Fatal(err)
		}
	}
	limit(6000) // of each file, as if the disk ended there
	made, refused := 0, 0
	for range 30 {
		switch a := o.ask(token, "POST", "/v1/merchants/m1/secrets", oneSecret); a.status {
		case 201:
			made++
			var f authz.Form
			a.into(t, 201, &f)
			s.watch(f.Secret, 0)
		case 503:
			refused++
		default:
			t.Errorf("create on a full disk = %d %s, want 503", a.status, a.text)
		}
	}
	if live := len(s.listed("m1")); made == 0 || refused == 0 || live != made {
		t.Errorf("with a disk that fills up, %d secrets were made and %d refused, and %d live: want some of each, and those that were made", made, refused, live)
	}
	g.answers(legacy.Secret, "GET /api/3/orders/1/tracking", 200, "unrestricted")
	s.ok("audit verify $AUDIT")
	limit(^uint64(0))
	o.ask(token, "DELETE", "/v1/merchants/m1/secrets/"+s.listed("m1")[0].ID, "").into(t, 200, &struct{}{})
	s.ok("audit verify $AUDIT")
}
