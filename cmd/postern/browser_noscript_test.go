package main

import (
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/postern/postern/authz"
)

// All of it works without scripts. The copy button, which cannot, is not there.
func TestPageWithoutScripts(t *testing.T) {
	s := newShell(t)
	o := s.manage("")
	b := o.browse(false)
	b.signIn(s.vars["OPERATOR"])
	b.shows("Merchants", "Merchant id")
	b.scripts(true) // the audit needs them
	b.do(chromedp.Reload())
	b.audit("home")
	b.scripts(false)
	b.do(chromedp.Reload())
	b.do(chromedp.SendKeys(chromedp.CSS("#merchant"), "no such/id"))
	b.press("main button")
	b.shows("use 1 to 128 of")
	b.do(chromedp.SetValue(chromedp.CSS("#merchant"), "shop"))
	b.press("main button")
	b.press(".head a")
	b.do(chromedp.SendKeys(chromedp.CSS("#description"), "Till"), chromedp.Click(chromedp.CSS(`input[value="getMerchant"]`)))
	b.press("main button.primary")
	b.shows("The raw secret is only available right now")
	b.lacks("Copy\n")
	token := b.value("#raw")
	s.watch(token, 0)
	if len(token) != 28 {
		t.Errorf("the field of the secret holds %q, want a token", token)
	}
	b.press("main > p a")
	b.press("tbody .danger")
	b.press("main form a") // keep it
	b.press("tbody .danger")
	b.press("button.danger")
	b.shows("Till, "+token[:4]+"**************"+token[24:]+", is deleted for good.", "No gateway runs, so nothing has confirmed it.")
	b.press("main a.primary")
	b.shows("There is no API secret yet")
	b.scripts(true)
	b.open("/nowhere")
	b.shows("Not found")
	b.audit("not found")
}

// A secret that predates a permission says so, and can be issued again with
// it. One that has long not used what it has says that too.
func TestPageOfAnOldSecret(t *testing.T) {
	s := newShell(t)
	old := s.write("api.yaml", document("/orders: {get: {operationId: listOrders, summary: List Orders}}", "/book: {post: {operationId: book, summary: Book}}"))
	s.env["POSTERN_CATALOG"] = old
	made := s.form("secret create --merchant shop --description Till --permission listOrders --permission book")
	o := s.manage("")
	s.replace(old, document(
		"/orders: {get: {operationId: listOrders, summary: List Orders}}", "/book: {post: {operationId: book, summary: Book}}",
		"/book/many: {post: {operationId: bookMany, summary: Book many, x-postern-permission: book}}",
		"/labels: {get: {operationId: label, summary: Print Labels, x-postern-fields: {price: {label: Include price, paths: [$.price]}}}}"))
	o.await("read the catalog again", func() bool { return len(o.log.String()) > 0 && o.hasPermission("label") })

	b := o.browse(true)
	b.signIn(s.vars["OPERATOR"])
	b.open("/merchants/shop/integrations")
	b.shows("2 permissions are newer than this secret")
	b.audit("list with newer permissions")
	b.open("/merchants/shop/integrations/" + made.ID)
	b.shows("2 permissions are newer than this secret", "Print Labels", "Book, which has grown by POST /book/many",
		"Newer than this secret: rotate to add it.", "Has grown by POST /book/many: rotate to add that.")
	b.audit("review with newer permissions")
	b.press(".buttons a")
	b.do(chromedp.Click(chromedp.CSS("#chosen")), chromedp.Click(chromedp.CSS(`input[value="listOrders"]`)), chromedp.Click(chromedp.CSS(`input[value="book"]`)), chromedp.Click(chromedp.CSS(`input[value="label+price"]`)))
	b.press("main button.primary")
	b.shows("Tick at least one permission.", "“Include price” needs “Print Labels”: tick both, or none.")
	b.audit("rotate with faults")
	b.do(chromedp.Click(chromedp.CSS(`input[value="label"]`)))
	b.press("main button.primary")
	b.shows("The raw secret is only available right now", "The old secret still works")
	token := b.value("#raw")
	s.watch(token, 0)
	next := s.secretOf("shop", token[:4]+"**************"+token[24:])
	if got, want := next.Permissions, permitted(authz.Choice{ID: "label", Fields: []string{"price"}}); len(got) != 1 || got[0].ID != want[0].ID || len(got[0].Fields) != 1 || next.Description != "Till" {
		t.Errorf("the new secret is %+v, want the description of the old one, with label and its price", next)
	}
}

// Ticks that were changed are not dropped: a rotation that keeps the permissions
// is refused with them, and the form comes back as it was sent.
func TestPageRotateWithOtherTicks(t *testing.T) {
	s := newShell(t)
	old := s.form("secret create --merchant shop --description Till --permission getOrderLabel+shipping_price --permission trackOrder")
	b := s.manage("").browse(false)
	b.signIn(s.vars["OPERATOR"])
	for _, which := range []string{"same", "latest"} {
		for tick, is := range map[string]string{"trackOrder": ":not(:checked)", "getMerchant": ":checked", "getOrderLabel+shipping_price": ":not(:checked)"} {
			tick = `input[value="` + tick + `"]`
			b.open("/merchants/shop/integrations/" + old.ID + "/rotate")
			b.do(chromedp.Click(chromedp.CSS("#"+which)), chromedp.Click(chromedp.CSS(tick)))
			b.press("main button.primary")
			b.shows("Nothing was created yet", "choose “Those that are ticked below”, or tick again what the old secret has")
			if kept := evaluate[int](b, "document.querySelectorAll('#"+which+":checked, "+tick+is+"').length"); kept != 2 {
				t.Errorf("after %s with %s changed, the form came back otherwise", which, tick)
			}
			if which == "latest" {
				b.do(chromedp.Click(chromedp.CSS(tick))) // back as it was
			}
		}
	}
	b.press("main button.primary")
	b.shows("The raw secret is only available right now")
	s.watch(b.value("#raw"), 0)
	if n := len(s.listed("shop")); n != 2 {
		t.Errorf("there are %d secrets, want the old one and the one that was made", n)
	}
}

// A tick under one that is not set says what it needs, and nothing else.
func TestPageStrayTick(t *testing.T) {
	s := newShell(t)
	b := s.manage("").browse(false)
	b.signIn(s.vars["OPERATOR"])
	b.open("/merchants/shop/integrations/new")
	b.do(chromedp.Click(chromedp.CSS(`input[value="getOrderLabel+shipping_price"]`)))
	b.press("main button.primary")
	b.shows("A description is needed", "“Include shipping price in Get Label response” needs “Get Label Information for an Order”: tick both, or none.")
	b.lacks("known are")
}

// A date without a time is none to a browser, which would send nothing: it asks
// for the rest instead of a secret that never expires.
func TestPageHalfADate(t *testing.T) {
	s := newShell(t)
	b := s.manage("").browse(false)
	b.signIn(s.vars["OPERATOR"])
	b.open("/merchants/shop/integrations/new")
	b.do(chromedp.SendKeys(chromedp.CSS("#description"), "Till"), chromedp.Click(chromedp.CSS(`input[value="getMerchant"]`)), chromedp.SendKeys(chromedp.CSS("#expires_at"), "01312030"))
	b.do(chromedp.Click(chromedp.CSS("main button.primary")), chromedp.Sleep(500*time.Millisecond))
	if all := s.listed("shop"); len(all) != 0 || !evaluate[bool](b, `document.activeElement.matches("#expires_at:invalid")`) {
		t.Errorf("half a date made %+v, want the field to be asked for", all)
	}
	b.do(chromedp.SetValue(chromedp.CSS("#expires_at"), "2030-01-31T00:00"))
	b.press("main button.primary")
	b.shows("31/01/2030 - 12:00:00 AM UTC")
	s.watch(b.value("#raw"), 0)
}

// A second click while the server is slow has the browser drop the answer to the
// first. What the first made goes, and the merchant sees what the second makes.
func TestPageClickedTwice(t *testing.T) {
	s := newShell(t)
	b := s.manage("").browse(false)
	b.signIn(s.vars["OPERATOR"])
	b.open("/merchants/shop/integrations/new")
	b.do(chromedp.SendKeys(chromedp.CSS("#description"), "Till"), chromedp.Click(chromedp.CSS(`input[value="getMerchant"]`)))
	at := evaluate[[]float64](b, `(() => { const e = document.querySelector("main button.primary"); e.scrollIntoView();
		const at = e.getBoundingClientRect(); return [at.x + at.width / 2, at.y + at.height / 2] })()`)
	s.redis.Do("CLIENT", "PAUSE", "500", "WRITE")
	click := chromedp.MouseClickXY(at[0], at[1])
	go chromedp.Do(b.ctx, click) // it returns when the page answers
	b.o.await("begin", func() bool { return strings.Contains(s.read(b.o.audit), `"begun"`) })
	b.do(click)
	b.awaitHere("The raw secret is only available right now")
	token := b.value("#raw")
	s.watch(token, 0)
	if all := s.listed("shop"); len(all) != 1 || all[0].Redacted != token[:4]+"**************"+token[24:] {
		t.Errorf("after two clicks there are %+v, want the one that is shown", all)
	}
	if log := s.read(b.o.audit); !strings.Contains(log, "went away before the answer") {
		t.Errorf("the first click was answered, so this tries nothing; the audit log:\n%s", log)
	}
}

// hasPermission reports whether the server knows a permission.
func (o *office) hasPermission(id string) bool {
	var list struct{ Permissions []struct{ ID string } }
	o.ask(o.s.vars["OPERATOR"], "GET", "/v1/permissions", "").into(o.s.t, 200, &list)
	for _, p := range list.Permissions {
		if p.ID == id {
			return true
		}
	}
	time.Sleep(50 * time.Millisecond)
	return false
}
