package main

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// The keyboard is enough, and always shows where it is.
func TestPageByKeyboard(t *testing.T) {
	s := newShell(t)
	o := s.manage("")
	b := o.browse(true)
	b.open("/sign-in")
	b.tabTo("a.skip")
	b.tabTo("#token")
	b.types(s.vars["OPERATOR"])
	b.enters()
	b.tabTo("#merchant")
	b.types("shop")
	b.enters()
	b.tabTo(".head a")
	b.enters()
	b.tabTo("#description")
	b.types("Till")
	b.tabTo(`input[value="getMerchant"]`)
	b.types(" ")
	b.tabTo("main button.primary")
	b.enters()
	b.shows("The raw secret is only available right now")
	s.watch(b.value("#raw"), 0)
	b.tabTo("#raw")
	b.tabTo("#copy")
	b.types(" ")
	b.awaitHere("Copied.")
	b.tabTo("main > p a")
	b.enters()
	b.tabTo("tbody a.danger")
	b.enters()
	b.tabTo("button.danger")
	b.enters()
	b.shows("is deleted for good")
}

// tabTo presses Tab until an element has the focus, and demands that each on
// the way shows it.
func (b *browser) tabTo(selector string) {
	b.t.Helper()
	for range 100 {
		b.do(chromedp.KeyEvent(kb.Tab))
		if evaluate[bool](b, fmt.Sprintf("document.activeElement.matches(%s)", quote(selector))) {
			return
		}
		if shown := evaluate[string](b, `(() => { const e = document.activeElement, s = getComputedStyle(e);
			return e === document.body || s.outlineStyle !== "none" && parseFloat(s.outlineWidth) >= 2 ? "" : e.outerHTML })()`); shown != "" {
			b.t.Errorf("the focus does not show on %s", shown)
		}
	}
	b.t.Fatalf("Tab does not come to %s; the page shows:\n%s", selector, b.text())
}

// types types where the focus is.
func (b *browser) types(text string) {
	b.t.Helper()
	b.do(chromedp.KeyEvent(text))
}

// enters presses Enter, and waits for the page that it leads to.
func (b *browser) enters() {
	b.t.Helper()
	if _, err := chromedp.RunResponse(b.ctx, chromedp.KeyEvent(kb.Enter)); err != nil {
		b.t.Fatalf("Enter: %v; the page shows:\n%s", err, b.text())
	}
}
