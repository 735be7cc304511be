package main

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/postern/postern/authz"
)

func sum(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

const importLine = "secret import --merchant m1 --description test --permission getOrder"

func TestImport(t *testing.T) {
	s := newShell(t)
	const hashed, typed = "peer.token/by+its~hash==", "peer-token-by-its-text-0123456789"
	s.watch(hashed, 0)
	s.watch(typed, 0)
	byHash := s.form(importLine + " --expires 90d --allow-ip 192.0.2.0/24 --sha256 " + strings.ToUpper(sum(hashed)))
	r := s.runWith(typed+"\n", importLine+" --token-stdin --json")
	var byText authz.Form
	s.decode(r.stdout, &byText)
	for _, f := range []authz.Form{byHash, byText, s.form("secret show", byText.ID)} {
		if f.Redacted != "imported" || f.Secret != "" || f.Merchant != "m1" {
			t.Errorf("imported secret = %+v, want redacted %q, no secret, merchant m1", f, "imported")
		}
	}
	s.decides(hashed, "GET /api/3/orders/1 --ip 192.0.2.1", "allow", "granted")
	s.decides(hashed, "GET /api/3/orders/1 --ip 192.0.3.1", "deny", "ip_not_allowed")
	s.decides(typed, "GET /api/3/orders/1", "allow", "granted")
	s.decides(typed, "PUT /api/3/orders/1", "deny", "not_granted")
	stored := s.dump()
	s.refused(s.runWith(typed, importLine+" --token-stdin"), "this token is already in the store, as secret "+byText.ID+" of merchant m1")
	s.refused(s.run(importLine+" --sha256 "+sum(typed)), "this token is already in the store")
	s.unchanged("importing a token that is there", stored)
	if r := s.runWith("peer-token-that-nobody-has", "secret delete --token-stdin"); r.code != exitRefused || strings.Contains(r.stderr, "by its token") {
		t.Errorf("delete of an unknown token = exit %d, want 1 and no advice to do the same:\n%s", r.code, r.stderr)
	}
}

// A deleted token stays deleted, under every key; an imported one is found
// under the key that it was imported with.
func TestImportAcrossKeys(t *testing.T) {
	s := newShell(t)
	const live, dead = "peer-token-that-lives", "peer-token-that-is-deleted"
	s.watch(live, 0)
	s.watch(dead, 0)
	s.form(importLine + " --sha256 " + sum(live))
	id := s.form(importLine + " --sha256 " + sum(dead)).ID
	s.runWith(dead, "secret delete --token-stdin")
	first := s.keyIDs("key new --if-missing $KEYS")[0]
	for _, when := range []string{"under the same key", "after promotion"} {
		stored := s.dump()
		s.decides(live, "GET /api/3/orders/1", "allow", "granted")
		s.decides(dead, "GET /api/3/orders/1", "deny", "deleted")
		s.refused(s.run(importLine+" --sha256 "+sum(dead)), "this token was deleted as secret "+id+": a deleted token cannot come back; mint a new secret")
		s.refused(s.runWith(live, importLine+" --token-stdin"), "this token is already in the store")
		s.unchanged("importing a token again "+when, stored)
		ids := s.keyIDs("key add $KEYS")
		s.ok("key promote", s.keys, ids[len(ids)-1])
	}
	s.refused(s.run("key retire $KEYS", first), "key "+first+" is needed by 1 live secrets")
	s.runWith(live, "secret delete --token-stdin")
	s.decides(live, "GET /api/3/orders/1", "deny", "deleted")
}

func TestImportRefuses(t *testing.T) {
	s := newShell(t)
	ours := s.create("--permission getOrder")
	s.ok("key new --prefix x_ $DIR/other.json")
	stored := s.dump()
	const foreign = "peer-token-of-a-good-form"
	s.watch(foreign, 0)
	alike := strings.Repeat("aZ-_", 7)
	s.watch(alike, 0)
	tests := []struct {
		name, stdin, flags string
		code               int
		text               string
	}{
		{"neither", "", "", 2, "give one of --sha256 and --token-stdin"},
		{"both", foreign, "--token-stdin --sha256 " + sum(foreign), 2, "give one of --sha256 and --token-stdin"},
		{"short sum", "", "--sha256 " + sum(foreign)[2:], 1, "is not 64 hexadecimal digits"},
		{"no hexadecimal sum", "", "--sha256 zz" + sum(foreign)[2:], 1, "is not 64 hexadecimal digits"},
		{"the token where its sum belongs", "", "--sha256 " + foreign, 1, "is not 64 hexadecimal digits"},
		{"token of our form", alike, "--token-stdin", 1, "the token has the form of those that this key file mints, so it would never be looked up: use a key file with another --prefix"},
		{"token of ours", ours.Secret, "--token-stdin", 1, "the token has the form of those that this key file mints"},
		{"token of ours by its sum", "", "--sha256 " + sum(ours.Secret), 1, "this token is already in the store, as secret " + ours.ID},
		{"short token", "123456789012345", "--token-stdin", 1, "what stdin holds is no token: want 16 to 128 of"},
		{"long token", strings.Repeat("t", 129), "--token-stdin", 1, "what stdin holds is no token"},
		{"two tokens", foreign + "\n" + foreign, "--token-stdin", 1, "what stdin holds is no token"},
		{"token and its scheme", "Bearer " + foreign, "--token-stdin", 1, "what stdin holds is no token"},
		{"nothing on stdin", "", "--token-stdin", 1, "what stdin holds is no token"},
		{"endless stdin", strings.Repeat("t", 1<<20), "--token-stdin", 1, "what stdin holds is no token"},
	}
	for _, tt := range tests {
		r := s.runWith(tt.stdin, importLine+" "+tt.flags)
		r.line = tt.name
		s.ended(r, tt.code, tt.text)
		s.unchanged("secret import: "+tt.name, stored)
	}
}
