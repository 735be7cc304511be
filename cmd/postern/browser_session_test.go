package main

import (
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// A form that is sent after its session has ended does nothing, and says so.
// Whoever signs in again is where they were, also after a wrong token.
func TestPageAfterTheSession(t *testing.T) {
	s := newShell(t)
	b := s.manage("").browse(false)
	b.signIn(s.vars["OPERATOR"])
	b.open("/merchants/shop/integrations/new")
	b.do(chromedp.SendKeys(chromedp.CSS("#description"), "Till"), chromedp.Click(chromedp.CSS(`input[value="getMerchant"]`)))
	b.endSession()
	b.press("main button.primary")
	b.shows("Sign in", "Your session had ended, so nothing was made, changed or deleted.")
	b.scripts(true)
	b.audit("sign-in after the session")
	b.scripts(false)
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), "wrong"))
	b.press("main button")
	b.shows("That token is not known")
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), s.vars["OPERATOR"]))
	b.press("main button")
	b.shows("New API Secret", "Description")
	if all := s.listed("shop"); len(all) != 0 {
		t.Errorf("a form without a session made %+v", all)
	}
	b.endSession()
	b.open("/merchants/shop/integrations")
	b.shows("Your session has ended.")
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), s.vars["OPERATOR"]))
	b.press("main button")
	b.shows("There is no API secret yet")
}

// endSession gives the browser the cookie of a session that there is no longer.
func (b *browser) endSession() {
	b.t.Helper()
	secure := true
	b.do(protocol(network.SetCookie, network.SetCookieParams{Name: "__Host-postern", Value: "ended", URL: b.o.url, Path: "/", Secure: &secure, SameSite: network.CookieSameSiteStrict}))
}
