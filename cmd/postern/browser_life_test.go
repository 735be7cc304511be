package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/envoy/envoyproc"
)

// through is a request through Envoy: its status, and what the API received.
func through(t *testing.T, proxy *envoyproc.Process, token, method, path string) int {
	t.Helper()
	r, err := http.NewRequest(method, "http://"+proxy.Listen+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	response, err := patient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// A merchant's whole life with a secret, on the page, in a real browser and
// through a real Envoy, while another merchant has secrets too.
func TestLifeOnThePage(t *testing.T) {
	s := newShell(t)
	g := s.serve("--usage-every 100ms")
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { json.NewEncoder(w).Encode(r.Header) }))
	t.Cleanup(upstream.Close)
	proxy, err := envoyproc.Start(t.Context(), envoyproc.Options{Gate: "unix:" + g.socket, Upstream: upstream.Listener.Addr().String()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Stop() })

	s.vars["TOKENS"] = s.dir + "/tokens.json"
	a := s.token(s.vars["TOKENS"], "a", "merchant:shop-a")
	o := s.manage("")
	others := s.form("secret create --merchant shop-b --permission trackOrder --description", "Theirs")
	legacy := s.form("merchant create shop-a")

	b := o.browse(true)
	b.signIn("postern_admin_wrong")
	b.shows("That token is not known")
	b.audit("sign-in")
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), a))
	b.press("main button")
	b.shows("Integrations", "API Secrets", "There is no API secret yet", "Legacy API Secret", legacy.Redacted)
	b.lacks("Theirs", others.Redacted)

	// Refused, with all that was typed.
	b.press(".head a")
	b.picture("form", "light", 900, 900)
	b.do(chromedp.SendKeys(chromedp.CSS("#allow_ips"), "127.0.0.1\nnowhere"))
	b.audit("form")
	b.press("main button.primary")
	b.shows("A description is needed", "Tick at least one permission", `"nowhere" is no IP address`)
	if got := evaluate[string](b, `document.activeElement.innerText`); !strings.HasPrefix(got, "Nothing was created yet") {
		t.Errorf("what is wrong has not got the focus; this has: %q", got)
	}
	if got, want := b.value("#allow_ips"), "127.0.0.1\nnowhere"; got != want {
		t.Errorf("the form that came back holds %q, want %q", got, want)
	}
	b.audit("form with faults")

	// Made, and shown once.
	b.do(
		chromedp.SetValue(chromedp.CSS("#allow_ips"), "127.0.0.0/8"),
		chromedp.SendKeys(chromedp.CSS("#description"), "Warehouse East & returns"),
		chromedp.Click(chromedp.CSS(`input[value="trackOrder"]`)),
		chromedp.Click(chromedp.CSS(`input[value="getOrderLabel"]`)),
		chromedp.Click(chromedp.CSS(`input[value="getOrderLabel+shipping_price"]`)),
	)
	b.press("main button.primary")
	b.shows("The raw secret is only available right now. Next time this loads, it will be gone!", "Warehouse East & returns")
	token := b.value("#raw")
	s.watch(token, 0)
	b.copies(token)
	b.shownWhole("#raw")
	b.picture("created", "light", 900, 670)
	b.audit("created")
	b.sentAgain(token)

	// Listed, and reviewed.
	s.form("secret create --merchant shop-a --permission retrieveQuote --permission trackOrder --expires 90d --description", "Checkout, quotes and tracking")
	s.form("secret create --merchant shop-a --permission bookOrders --permission getOrderLabel --description", "3PL Melbourne, without prices")
	b.open("/merchants/shop-a/integrations")
	redacted := token[:4] + "**************" + token[24:]
	b.shows(redacted, "Warehouse East & returns", "Created at: "+time.Now().UTC().Format("02/01/2006 - "), "Never used")
	b.lacks(token)
	b.picture("list", "light", 1000, 720)
	b.picture("phone", "dark", 390, 844)
	b.audit("list")
	b.press("tbody .icon")
	if got := evaluate[string](b, `document.title`); !strings.HasPrefix(got, "API Secret Warehouse East & returns · ") {
		t.Errorf("the title of the review is %q, want the description in it", got)
	}
	b.shows("Never used", "127.0.0.0/8", "Get Label Information for an Order")
	b.lacks(token)
	b.audit("review")

	// Used.
	if got := through(t, proxy, token, "GET", "/api/3/orders/PP1/tracking"); got != 200 {
		t.Errorf("a granted request through Envoy = %d, want 200", got)
	}
	if got := through(t, proxy, token, "GET", "/api/3/merchant"); got != 403 {
		t.Errorf("another request through Envoy = %d, want 403", got)
	}
	b.await("About 1 in the last 24 hours")
	b.shows("It is safe to delete from")
	b.picture("review", "light", 900, 1000)

	// Rotated, and traffic moves.
	id := s.secretOf("shop-a", redacted).ID
	b.press(".buttons a")
	b.audit("rotate")
	b.do(chromedp.Click(chromedp.CSS("#latest")))
	b.press("main button.primary")
	b.shows("The raw secret is only available right now", "The old secret still works", "About 1 in the last 24 hours")
	next := b.value("#raw")
	s.watch(next, 0)
	b.audit("rotated")
	for range 3 {
		if got := through(t, proxy, next, "GET", "/api/3/orders/PP1/tracking"); got != 200 {
			t.Errorf("a request with the new secret = %d, want 200", got)
		}
	}
	b.open("/merchants/shop-a/integrations/" + s.secretOf("shop-a", next[:4]+"**************"+next[24:]).ID)
	b.await("About 3 in the last 24 hours")

	// Deleted, applied, denied.
	b.open("/merchants/shop-a/integrations/" + id + "/delete")
	b.shows("Delete this API Secret?", "Last used", time.Now().UTC().Format("02/01/2006"))
	b.picture("delete", "light", 900, 660)
	b.audit("delete")
	b.press("button.danger")
	b.shows("Deleted", "Warehouse East & returns, "+redacted+", is deleted for good.", "It has stopped working everywhere.", "Applied by 1 of 1 sidecars")
	b.audit("deleted")
	if got := through(t, proxy, token, "GET", "/api/3/orders/PP1/tracking"); got != 401 {
		t.Errorf("a request with the deleted secret = %d, want 401", got)
	}
	if got := through(t, proxy, next, "GET", "/api/3/orders/PP1/tracking"); got != 200 {
		t.Errorf("a request with the other secret = %d, want 200", got)
	}

	// What the legacy secret is used for, so that one can take its place.
	if got := through(t, proxy, legacy.Secret, "GET", "/api/3/merchant"); got != 200 {
		t.Errorf("a request with the legacy secret = %d, want 200", got)
	}
	b.open("/merchants/shop-a/integrations/" + legacy.ID)
	b.await("About 1 in the last 24 hours")
	b.shows("What it is used for", "Get Merchant Settings")
	b.audit("review of the legacy secret")

	b.swap(others.ID)
	if got := through(t, proxy, others.Secret, "GET", "/api/3/orders/PP1/tracking"); got != 200 {
		t.Errorf("a request with another merchant's secret = %d, want 200: it must not have been touched", got)
	}
	b.press("header button")
	b.shows("Sign in")
	b.open("/merchants/shop-a/integrations")
	b.shows("Sign in")
	s.ok("audit verify $AUDIT")
}

// copies presses the copy button, and demands that the clipboard has the token.
func (b *browser) copies(token string) {
	b.t.Helper()
	b.do(chromedp.Click(chromedp.CSS("#copy")), chromedp.WaitVisible(chromedp.CSS("#copied")))
	b.awaitHere("Copied.")
	b.do(protocol(cdpbrowser.SetPermission, cdpbrowser.SetPermissionParams{
		Permission: &cdpbrowser.PermissionDescriptor{Name: "clipboard-read"}, Setting: cdpbrowser.PermissionSettingGranted,
	}))
	if got := evaluate[string](b, `navigator.clipboard.readText()`); got != token {
		b.t.Errorf("the clipboard holds %q, want the token", got)
	}
}

// awaitHere waits until the page as it is shows a text.
func (b *browser) awaitHere(text string) {
	b.t.Helper()
	for end := time.Now().Add(5 * time.Second); !strings.Contains(b.text(), text); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("the page does not come to show %q; it shows:\n%s", text, b.text())
		}
	}
}

// await loads the page again until it shows a text.
func (b *browser) await(text string) {
	b.t.Helper()
	for end := time.Now().Add(20 * time.Second); !strings.Contains(b.text(), text); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("the page does not come to show %q; it shows:\n%s", text, b.text())
		}
		b.do(chromedp.Reload())
	}
}

// sentAgain sends the form that made a secret a second time, as reloading the
// page does. Nothing more is made, and the token is not shown again.
func (b *browser) sentAgain(token string) {
	b.t.Helper()
	before := len(b.o.s.listed("shop-a"))
	b.do(chromedp.Reload())
	b.shows("This form was sent before", token[:4]+"**************"+token[24:], "If you have not, delete this one and make another.")
	b.audit("sent before")
	b.lacks(token)
	if after := len(b.o.s.listed("shop-a")); after != before {
		b.t.Errorf("reloading the page of a new secret made another: %d secrets, want %d", after, before)
	}
}

// swap puts another merchant's id, and then the other merchant too, in the
// place of those in every link and form of the pages. None may show or change
// anything.
func (b *browser) swap(theirs string) {
	b.t.Helper()
	own := b.o.s.listed("shop-a")[0].ID
	var paths []string
	for _, page := range []string{"", "/new", "/" + own, "/" + own + "/rotate", "/" + own + "/delete"} {
		paths = append(paths, "/merchants/shop-a/integrations"+page)
	}
	before := records(b.o.s.dump())
	for _, path := range paths {
		b.open(path)
		for _, swapped := range []string{strings.ReplaceAll(path, own, theirs), strings.ReplaceAll(path, "shop-a", "shop-b"), strings.NewReplacer(own, theirs, "shop-a", "shop-b").Replace(path)} {
			if swapped == path {
				continue
			}
			b.open(swapped)
			b.shows("Not found")
			b.lacks("Theirs")
			b.open(path)
			forms := evaluate[int](b, `(() => { const all = document.querySelectorAll("main form"); all.forEach(f => f.action = `+string(quote(swapped))+`); return all.length })()`)
			if forms > 0 {
				b.press("main form button")
				b.shows("Not found")
			}
		}
	}
	if after := records(b.o.s.dump()); after != before {
		b.t.Errorf("with another merchant's ids in links and forms the store changed; before:\n%s\nafter:\n%s", before, after)
	}
}

func quote(text string) []byte {
	quoted, _ := json.Marshal(text)
	return quoted
}

// records are those of a dump: what sidecars write by themselves is left out.
func records(dump string) string {
	var kept []string
	for line := range strings.Lines(dump) {
		if strings.HasPrefix(line, `{"version"`) {
			kept = append(kept, line)
		}
	}
	return strings.Join(kept, "")
}

func (s *shell) listed(merchant string) []authz.Form {
	s.t.Helper()
	var list struct{ Secrets []authz.Form }
	if err := json.Unmarshal([]byte(s.ok("secret list --json --merchant "+merchant)), &list); err != nil {
		s.t.Fatal(err)
	}
	return list.Secrets
}

func (s *shell) secretOf(merchant, redacted string) authz.Form {
	s.t.Helper()
	for _, f := range s.listed(merchant) {
		if f.Redacted == redacted {
			return f
		}
	}
	s.t.Fatalf("merchant %s has no secret %s", merchant, redacted)
	return authz.Form{}
}
