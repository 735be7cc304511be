package main

import (
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store/storetest"
)

func TestHelp(t *testing.T) {
	s := newShell(t)
	for _, line := range []string{"help", "--help", "-h"} {
		if text := s.ok(line); !strings.Contains(text, "secret create") || !strings.Contains(text, "key retire FILE ID") {
			t.Errorf("postern %s:\n%s", line, text)
		}
	}
	for _, c := range commands {
		text := s.ok(c.name + " --help")
		if !strings.HasPrefix(text, strings.TrimSpace("usage: postern "+c.name+" "+c.arguments)) || !strings.Contains(text, c.summary) {
			t.Errorf("postern %s --help:\n%s", c.name, text)
		}
	}
}

// Flags stand before and after arguments, and come from the environment, where
// a list is comma-separated; the command line wins.
func TestFlags(t *testing.T) {
	s := newShell(t)
	id := s.create("--permission getOrder").ID
	s.vars["ID"] = id
	for _, line := range []string{"secret show --json $ID", "secret show $ID --json", "secret show $ID -json=true", "secret show --redis=$REDIS --json $ID --key-file $KEYS", "secret show --json -- $ID"} {
		var form authz.Form
		if s.decode(s.ok(line), &form); form.ID != id {
			t.Errorf("postern %s shows %q, want %q", line, form.ID, id)
		}
	}
	for name, value := range map[string]string{"PERMISSION": "getOrder+shipping_price,createOrder", "ALLOW_IP": "10.0.0.0/8,2001:db8::/32", "MERCHANT": "env", "DESCRIPTION": "from, the environment"} {
		s.env["POSTERN_"+name] = value
	}
	got := s.form("secret create")
	want := permitted(authz.Choice{ID: "getOrder", Fields: []string{"shipping_price"}}, authz.Choice{ID: "createOrder", Fields: []string{}})
	if !reflect.DeepEqual(got.Permissions, want) || !slices.Equal(got.AllowIPs, []string{"10.0.0.0/8", "2001:db8::/32"}) || got.Description != "from, the environment" {
		t.Errorf("secret from the environment = %+v", got)
	}
	got = s.form("secret create --permission getMerchant --merchant line")
	if len(got.Permissions) != 1 || got.Permissions[0].ID != "getMerchant" || got.Merchant != "line" || len(got.AllowIPs) != 2 {
		t.Errorf("secret from the command line before the environment = %+v", got)
	}
	s.env["POSTERN_JSON"] = "true"
	s.decode(s.ok("secret show $ID"), &got)
	s.env["POSTERN_JSON"] = "perhaps"
	s.ended(s.run("secret show $ID"), exitUsage, `POSTERN_JSON="perhaps"`, "usage: postern secret show ID")
}

// With --json, stdout is one document, whatever happens.
func TestJSONOnFailure(t *testing.T) {
	s := newShell(t)
	tests := []struct {
		line string
		code int
	}{
		{"secret show nope --json", 1}, {"secret show --json=true nope", 1}, {"secret show --json", 2}, {"secret show nope --json --nope", 2},
		{"secret show --nope --json nope", 2}, {"secret list --merchant m1 --json --redis redis://127.0.0.1:1", 1}, {"key new --json $KEYS", 1},
		{"secret create --json", 2}, {"merchant delete nobody --json", 1}, {"catalog lint --json $DIR/none.yaml", 1},
		{"catalog lint --json $KEYS", 1}, {"check GET /a --json", 1},
	}
	for _, tt := range tests {
		r := s.run(tt.line)
		var document map[string]any
		if s.decode(r.stdout, &document); r.code != tt.code {
			t.Errorf("postern %s: exit %d, want %d", r.line, r.code, tt.code)
		}
		if text, ok := document["error"].(string); ok && !strings.Contains(r.stderr, text) {
			t.Errorf("postern %s: error on stdout = %q, on stderr = %q, want one and the same", r.line, text, r.stderr)
		}
	}
	s.env["POSTERN_JSON"] = "true"
	var document map[string]string
	s.decode(s.run("secret show nope").stdout, &document)
	if document["error"] == "" {
		t.Errorf("postern secret show nope with POSTERN_JSON=true = %v, want an error", document)
	}
}

func TestMissingFlags(t *testing.T) {
	s := newShell(t)
	delete(s.env, "POSTERN_REDIS")
	s.ended(s.run("secret list --merchant m1"), exitUsage, "--redis (or POSTERN_REDIS) is missing")
	s.ended(s.run("key retire $KEYS 00000000"), exitUsage, "--redis (or POSTERN_REDIS) is missing")
	s.ended(s.brief("serve --listen unix:$DIR/g.sock"), exitUsage, "--redis (or POSTERN_REDIS) is missing")
	delete(s.env, "POSTERN_KEY_FILE")
	s.ended(s.run("secret list --merchant m1"), exitUsage, "--redis (or POSTERN_REDIS) and --key-file (or POSTERN_KEY_FILE) is missing")
	delete(s.env, "POSTERN_CATALOG")
	s.ended(s.run("secret create"), exitUsage, "--catalog (or POSTERN_CATALOG) and --merchant (or POSTERN_MERCHANT) is missing")
	s.ended(s.run("check GET /a"), exitUsage, "--catalog (or POSTERN_CATALOG) is missing")
}

// Redis may ask for a password, and prove itself by a certificate.
func TestRedisOverTLS(t *testing.T) {
	s := newShell(t)
	r := storetest.Redis(t, storetest.TLS, "--requirepass", "a&b c")
	s.env["POSTERN_REDIS"] = r.URL()
	s.refused(s.run("merchant create m1"), "open the store at rediss://"+r.Addr, "certificate signed by unknown authority")
	s.env["POSTERN_REDIS_CA"] = r.CAFile
	legacy := s.form("merchant create m1")
	s.decides(legacy.Secret, "GET /", "allow", "unrestricted")
	g := s.serve("")
	g.answers(legacy.Secret, "GET /", 200, "unrestricted")
	s.env["POSTERN_REDIS"] = r.URLAs("", "wrong")
	s.refused(s.run("secret list --merchant m1"), "open the store at rediss://"+r.Addr, "WRONGPASS")
}
