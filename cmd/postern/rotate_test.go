package main

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

func TestRotate(t *testing.T) {
	s := newShell(t)
	old := s.create("--permission getOrder+shipping_price --permission createOrder --allow-ip 192.0.2.0/24 --expires 90d")
	time.Sleep(5 * time.Millisecond)
	fresh := s.form("secret rotate", old.ID)
	if fresh.ID == old.ID || fresh.Secret == old.Secret || fresh.Redacted == old.Redacted {
		t.Errorf("secret rotate keeps id %q, or the token", fresh.ID)
	}
	if got := fresh.ExpiresAt.Sub(fresh.CreatedAt); got != 90*24*time.Hour || !fresh.CreatedAt.After(old.CreatedAt) {
		t.Errorf("rotated secret: created at %v, lives %v, want now and 90 days", fresh.CreatedAt, got)
	}
	want := old
	want.ID, want.Secret, want.Redacted, want.CreatedAt, want.ExpiresAt = fresh.ID, fresh.Secret, fresh.Redacted, fresh.CreatedAt, fresh.ExpiresAt
	if !reflect.DeepEqual(fresh, want) {
		t.Errorf("rotated secret = %+v\nwant %+v", fresh, want)
	}
	for _, f := range []authz.Form{old, fresh} {
		s.decides(f.Secret, "GET /api/3/orders/1 --ip 192.0.2.1", "allow", "granted")
		s.decides(f.Secret, "GET /api/3/orders/1 --ip 192.0.3.1", "deny", "ip_not_allowed")
	}
	if r := s.run("secret show", old.ID); r.code != exitDone {
		t.Errorf("secret show of the old one = exit %d, %s", r.code, r.stderr)
	}
	brief := s.form("secret rotate --expires 1h", fresh.ID)
	if got := brief.ExpiresAt.Sub(brief.CreatedAt); got != time.Hour {
		t.Errorf("rotated with --expires 1h, it lives %v", got)
	}
	if got := s.form("secret rotate", s.create("--permission getOrder").ID); got.ExpiresAt != nil {
		t.Errorf("rotated, one that never expires expires at %v", got.ExpiresAt)
	}
}

func TestRotateSaysThatTheOldOneStays(t *testing.T) {
	s := newShell(t)
	old := s.create("--permission getOrder")
	r := s.run("secret rotate --json", old.ID)
	var form authz.Form
	s.decode(r.stdout, &form)
	s.watch(form.Secret, 1)
	s.ended(r, exitDone, "secret "+old.ID+" stays as it is until it is deleted")
}

// Of legacy secrets there are two at most.
func TestRotateLegacy(t *testing.T) {
	s := newShell(t)
	first := s.form("merchant create m1")
	s.refused(s.run("merchant create m1"), "merchant m1 has the legacy secret "+first.ID+" already: rotate it, or delete it first")
	second := s.form("secret rotate", first.ID)
	stored := s.dump()
	for _, f := range []authz.Form{first, second} {
		s.decides(f.Secret, "GET /any/where", "allow", "unrestricted")
		s.refused(s.run("secret rotate", f.ID), "merchant m1 has a second legacy secret already: delete one of the two first")
	}
	s.refused(s.run("merchant create m1"), "merchant m1 has the legacy secret ")
	s.refused(s.run("secret rotate --permissions latest", first.ID), "it has no permissions to read again")
	s.unchanged("rotating a legacy secret that has a second", stored)
	s.ok("secret delete", first.ID)
	third := s.form("secret rotate", second.ID)
	s.decides(third.Secret, "GET /any/where", "allow", "unrestricted")
	s.decides(second.Secret, "GET /any/where", "allow", "unrestricted")
	s.decides(first.Secret, "GET /any/where", "deny", "deleted")
}

// Two at once do not both become the merchant's first, or second, legacy secret.
func TestLegacyAtOnce(t *testing.T) {
	s := newShell(t)
	s.create("--permission getOrder")
	first := s.madeAtOnce("merchant create m1 --json")
	second := s.madeAtOnce("secret rotate --json " + first.ID)
	for _, f := range []authz.Form{first, second} {
		s.decides(f.Secret, "GET /any/where", "allow", "unrestricted")
	}
	var list struct{ Secrets []authz.Form }
	if s.decode(s.ok("secret list --merchant m1 --json"), &list); len(list.Secrets) != 3 {
		t.Errorf("secret list = %+v, want the two legacy secrets, and the one with grants", list)
	}
}

// madeAtOnce runs a command line some times at once, and returns what the one
// that succeeded made.
func (s *shell) madeAtOnce(line string) (made authz.Form) {
	s.t.Helper()
	results := make(chan result)
	for range 6 {
		go func() { results <- s.run(line) }()
	}
	n := 0
	for range 6 {
		if r := <-results; r.code == exitDone {
			s.decode(r.stdout, &made)
			s.watch(made.Secret, 1)
			n++
		}
	}
	if n != 1 {
		s.t.Errorf("postern %s, six times at once, succeeded %d times, want once", line, n)
	}
	return made
}

// Rotating grants what was issued; --permissions latest what the catalog has
// now, and says each thing that it adds or takes.
func TestRotateLatest(t *testing.T) {
	s := newShell(t)
	s.env["POSTERN_CATALOG"] = s.write("api.yaml", document(
		"/a: {get: {operationId: getA, x-postern-fields: {price: {paths: [$.price, $.tax]}, name: {paths: [$.name]}}}}",
		"/b: {get: {operationId: getB}, put: {operationId: putB, x-postern-permission: getB}}"))
	old := s.create("--permission getA+price --permission getB")
	s.write("api.yaml", document(
		"/a: {get: {operationId: getA, x-postern-fields: {price: {paths: [$.price, $.cost]}, name: {paths: [$.title]}}}, head: {operationId: headA, x-postern-permission: getA}}",
		"/b: {get: {operationId: getB}}"))
	s.decides(s.form("secret rotate", old.ID).Secret, "HEAD /a", "deny", "not_granted")

	r := s.run("secret rotate --json --permissions latest", old.ID)
	var fresh authz.Form
	s.decode(r.stdout, &fresh)
	s.watch(fresh.Secret, 1)
	s.ended(r, exitDone, "added: HEAD /a (getA)", "gone: PUT /b (getB)")
	for _, want := range []string{"$.cost", "$.name"} { // $.cost is price now, and $.name nobody's: neither is removed any more
		if !strings.Contains(r.stderr, want) {
			t.Errorf("secret rotate --permissions latest does not say that the answer of GET /a has %s now:\n%s", want, r.stderr)
		}
	}
	s.decides(fresh.Secret, "HEAD /a", "allow", "granted")
	s.decides(old.Secret, "HEAD /a", "deny", "not_granted")

	s.write("api.yaml", document("/b: {get: {operationId: getB}}"))
	stored := s.dump()
	s.refused(s.run("secret rotate --permissions latest", old.ID), `"getA"`, "known are: getB")
	delete(s.env, "POSTERN_CATALOG")
	s.ended(s.run("secret rotate --permissions latest", old.ID), exitUsage, "--permissions latest needs --catalog")
	s.ended(s.run("secret rotate --permissions newest", old.ID), exitUsage, `--permissions "newest": the only choice is latest`)
	s.unchanged("a refused rotation", stored)
}
