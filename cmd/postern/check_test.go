package main

import (
	"slices"
	"strings"
	"testing"
	"time"
)

// check runs check on `METHOD PATH` and returns what it printed.
func (s *shell) check(token, request string, more ...string) (form checkForm, code int) {
	s.t.Helper()
	r := s.runWith(token+"\n", "check --json "+request, more...)
	s.decode(r.stdout, &form)
	return form, r.code
}

// decides demands a verdict of check, and the exit code that goes with it.
func (s *shell) decides(token, request, decision, reason string, more ...string) checkForm {
	s.t.Helper()
	form, code := s.check(token, request, more...)
	if form.Decision != decision || form.Reason != reason {
		s.t.Errorf("check %s %q = %s (%s), want %s (%s)", request, more, form.Decision, form.Reason, decision, reason)
	}
	if allowed := decision == "allow"; allowed != (code == exitDone) {
		s.t.Errorf("check %s = exit %d with decision %s", request, code, decision)
	}
	return form
}

// checks is what check says of the secrets of TestCheck.
var checks = []struct {
	name, secret, request string
	status                int
	reason                string
	lines                 []string // of the explanation
}{
	{"granted", "plain", "GET /api/3/orders/1", 200, "granted", []string{
		"the secret has a grant for this endpoint", "GET /api/3/orders/{tracking_number}: granted by permission getOrder",
		"removed from the answer: $.response.price", "the route needs the response filter for that: without it the answer is 503"}},
	{"with its fields", "plain", "GET /api/3/orders/1/label", 200, "granted", []string{
		"the secret has a grant for this endpoint", "GET /api/3/orders/{tracking_number}/label: granted by permission getOrderLabel"}},
	{"the query is not read", "plain", "GET /api/3/orders/1/label?x=/../y", 200, "granted", nil},
	{"not granted", "plain", "PUT /api/3/orders/1", 403, "not_granted", []string{
		"the endpoint is in the catalog, and the secret has no grant for it",
		"PUT /api/3/orders/{tracking_number}: needs permission updateOrder", "to allow it, make a new secret with --permission updateOrder"}},
	{"literal beats parameter", "plain", "GET /api/3/orders/search", 403, "not_granted", []string{
		"the endpoint is in the catalog, and the secret has no grant for it",
		"GET /api/3/orders/search: needs permission searchOrders", "to allow it, make a new secret with --permission searchOrders"}},
	{"ambiguous", "label", "GET /api/3/orders/returns/label", 403, "not_granted", []string{
		"the endpoint is in the catalog, and the secret has no grant for it",
		"GET /api/3/orders/returns/{return_id}: needs permission getReturn", "to allow it, make a new secret with --permission getReturn",
		"GET /api/3/orders/{tracking_number}/label: granted by permission getOrderLabel"}},
	{"another method", "plain", "DELETE /api/3/orders/search", 403, "not_catalogued", []string{
		"the catalog has no such endpoint: paths and methods are compared byte for byte",
		"the path is /api/3/orders/search, which has GET: a path is resolved first, then the method"}},
	{"method in lower case", "plain", "get /api/3/orders/1", 403, "not_catalogued", nil},
	{"not in the catalog", "plain", "GET /api/3/nothing", 403, "not_catalogued", []string{
		"the catalog has no such endpoint: paths and methods are compared byte for byte"}},
	{"encoded", "plain", "GET /api/3/orders/%31", 403, "not_catalogued", nil},
	{"a callback", "plain", "POST /api/3/webhook", 403, "not_catalogued", nil},
	{"legacy", "legacy", "GET /nothing/at/all", 200, "unrestricted", []string{"a legacy secret opens every well-formed path"}},
	{"legacy, hostile path", "legacy", "GET /a/../b", 403, "not_catalogued", nil},
	{"deleted", "deleted", "GET /api/3/orders/1", 401, "deleted", []string{"the secret was deleted"}},
	{"expired", "brief", "GET /api/3/orders/1", 401, "expired", []string{"the secret has expired"}},
	{"mistyped", "mistyped", "GET /api/3/orders/1", 401, "unknown", []string{"no such secret: it is mistyped, of another store, or was never made"}},
	{"foreign", "foreign", "GET /api/3/orders/1", 401, "unknown", nil},
	{"malformed", "malformed", "GET /api/3/orders/1", 401, "malformed", []string{"what stdin holds is no token: want 16 to 128 of A-Z a-z 0-9 . _ ~ + / = -"}},
	{"no token", "none", "GET /api/3/orders/1", 401, "no_secret", []string{"stdin holds no token"}},
	{"address missing", "home", "GET /api/3/orders/1", 503, "address_missing", []string{
		"the secret may be used from some addresses only: name one with --ip"}},
	{"address", "home", "GET /api/3/orders/1 --ip 192.0.2.77", 200, "granted", nil},
	{"address, mapped", "home", "GET /api/3/orders/1 --ip ::ffff:192.0.2.77", 200, "granted", nil},
	{"address, IPv6", "home", "--ip 2001:db8:1::1 GET /api/3/orders/1", 200, "granted", nil},
	{"another address", "home", "GET /api/3/orders/1 --ip 192.0.3.1", 403, "ip_not_allowed", []string{
		"the secret may not be used from this address"}},
	{"another address, IPv6", "home", "GET /api/3/orders/1 --ip 2001:db9::1", 403, "ip_not_allowed", nil},
}

func TestCheck(t *testing.T) {
	s := newShell(t)
	legacy := s.form("merchant create m1")
	plain := s.create("--permission getOrder --permission getOrderLabel+shipping_price")
	label := s.create("--permission getOrderLabel")
	home := s.create("--permission getOrder+shipping_price --allow-ip 192.0.2.0/24 --allow-ip 2001:db8::/32")
	brief := s.create("--permission getOrder --expires 1ms")
	deleted := s.create("--permission getOrder")
	s.ok("secret delete", deleted.ID)
	time.Sleep(2 * time.Millisecond)
	tokens := map[string]string{
		"legacy": legacy.Secret, "plain": plain.Secret, "label": label.Secret, "home": home.Secret, "brief": brief.Secret, "deleted": deleted.Secret,
		"mistyped": plain.Secret[:20] + "-_-_-_-_", "foreign": "foreign.token.of.another.kind", "malformed": "no-token", "none": "",
	}
	decisions := map[int]string{200: "allow", 401: "deny", 403: "deny", 503: "error"}
	for _, tt := range checks {
		form := s.decides(tokens[tt.secret], tt.request, decisions[tt.status], tt.reason)
		if form.Status != tt.status {
			t.Errorf("%s: status = %d, want %d", tt.name, form.Status, tt.status)
		}
		if tt.lines != nil && !slices.Equal(form.Explanation, tt.lines) {
			t.Errorf("%s: explanation =\n%s\nwant\n%s", tt.name, strings.Join(form.Explanation, "\n"), strings.Join(tt.lines, "\n"))
		}
	}
}

func TestCheckExplainsWhatChanged(t *testing.T) {
	s := newShell(t)
	s.env["POSTERN_CATALOG"] = s.write("api.yaml", document("/a/{id}: {get: {operationId: getA}}"))
	old := s.create("--permission getA")
	s.write("api.yaml", document(
		"/a/{key}: {get: {operationId: getA}, put: {operationId: putA, x-postern-permission: getA}}",
		"/b: {get: {operationId: getB}}", "/c: {get: {operationId: getC, x-postern-retired: true}}"))
	renewed := s.create("--permission getA")
	tests := []struct {
		name, token, request, decision string
		lines                          []string
	}{
		{"another parameter name", old.Secret, "GET /a/1", "allow", []string{"GET /a/{key}: granted by permission getA"}},
		{"entered later, in a permission it has", old.Secret, "PUT /a/1", "deny", []string{
			"PUT /a/{key}: needs permission getA", "this endpoint entered the catalog after the secret was issued: secrets never gain endpoints",
			"to allow it, make a new secret with --permission getA"}},
		{"entered later", old.Secret, "GET /b", "deny", []string{
			"GET /b: needs permission getB", "this endpoint entered the catalog after the secret was issued: secrets never gain endpoints",
			"to allow it, make a new secret with --permission getB"}},
		{"issued later", renewed.Secret, "PUT /a/1", "allow", []string{"PUT /a/{key}: granted by permission getA"}},
		{"was there, and not granted", renewed.Secret, "GET /b", "deny", []string{
			"GET /b: needs permission getB", "to allow it, make a new secret with --permission getB"}},
		{"retired", renewed.Secret, "GET /c", "deny", []string{
			"GET /c: needs permission getC", "the endpoint is retired: it can no longer be granted"}},
	}
	reasons := map[string]string{"allow": "granted", "deny": "not_granted"}
	for _, tt := range tests {
		form := s.decides(tt.token, tt.request, tt.decision, reasons[tt.decision])
		if got := form.Explanation[1:]; !slices.Equal(got, tt.lines) {
			t.Errorf("%s: explanation = %q, want %q", tt.name, got, tt.lines)
		}
	}
	text := s.runWith(old.Secret, "check GET /b")
	if want := "deny (not_granted, 403)\n  the endpoint is in the catalog, and the secret has no grant for it\n  GET /b: needs"; !strings.HasPrefix(text.stdout, want) || text.code != exitRefused {
		t.Errorf("check without --json = exit %d:\n%s\nwant exit 1 and %q", text.code, text.stdout, want)
	}
}
