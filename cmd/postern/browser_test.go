package main

import (
	"context"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// browser is a real Chromium with a profile of its own.
type browser struct {
	t   *testing.T
	o   *office
	ctx context.Context
}

// browse starts a browser on the page of a management server.
func (o *office) browse(scripts bool) *browser {
	t := o.s.t
	t.Helper()
	if testing.Short() {
		t.Skip("long: it drives a browser")
	}
	program, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is missing: make chromium installs it")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(program), chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Env("TMPDIR="+socketDir(t)), chromedp.WindowSize(1100, 900)) // when it is killed, it leaves sockets there
	if os.Getuid() == 0 {
		options = append(options, chromedp.NoSandbox) // Chromium has none for root
	}
	ctx, cancel := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t, o, ctx}
	b.do(chromedp.Navigate("about:blank")) // with no bound of time: it would be the browser's
	b.ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	b.scripts(scripts)
	return b
}

func (b *browser) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatalf("browser: %v; it shows:\n%s", err, b.text())
	}
}

// open opens a page.
func (b *browser) open(path string) {
	b.t.Helper()
	b.do(chromedp.Navigate(b.o.url + path))
}

// press presses what leads to another page, and waits for that.
func (b *browser) press(selector string) {
	b.t.Helper()
	if _, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(selector))); err != nil {
		b.t.Fatalf("press %s: %v; it shows:\n%s", selector, err, b.text())
	}
}

// signIn signs in with a token.
func (b *browser) signIn(token string) {
	b.t.Helper()
	b.open("/")
	b.do(chromedp.SendKeys(chromedp.CSS("#token"), token))
	b.press("main button")
}

// text is what the page shows. While one page gives way to another it is asked
// for again.
func (b *browser) text() (text string) {
	ctx, cancel := context.WithTimeout(b.ctx, 5*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		var err error
		if text, err = chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body"))); err == nil {
			return text
		}
		text = err.Error()
	}
	return text
}

// shows demands that the page shows each of these texts.
func (b *browser) shows(texts ...string) {
	b.t.Helper()
	is := b.text()
	for _, text := range texts {
		if !strings.Contains(is, text) {
			b.t.Errorf("the page lacks %q; it shows:\n%s", text, is)
		}
	}
}

// lacks demands that the page shows none of these texts.
func (b *browser) lacks(texts ...string) {
	b.t.Helper()
	is := b.text()
	for _, text := range texts {
		if strings.Contains(is, text) {
			b.t.Errorf("the page shows %q:\n%s", text, is)
		}
	}
}

// value is what an input holds.
func (b *browser) value(selector string) string {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Value(chromedp.CSS(selector)))
	if err != nil {
		b.t.Fatalf("read %s: %v", selector, err)
	}
	return value
}

// axeFile is axe-core, from where make axe puts it.
const axeFile = "../../.tools/axe.min.js"

// axeRun returns what axe-core finds on the page.
const axeRun = `axe.run().then(r => r.violations.map(v => v.id + ": " + v.help + " " + v.nodes.map(n => n.html + " " + n.failureSummary).join(" | ")))`

// audit has axe-core look for what keeps people out of the page, in light and
// dark, on a screen and on a phone, and at 200 % zoom, at which nothing may need
// scrolling sideways (WCAG 1.4.10).
func (b *browser) audit(name string) {
	b.t.Helper()
	axe, err := os.ReadFile(axeFile)
	if err != nil {
		b.t.Fatalf("axe-core is missing: make axe fetches it: %v", err)
	}
	for _, scheme := range []string{"light", "dark"} {
		for _, size := range []struct {
			width, height int64
			scale         float64
		}{{1100, 900, 1}, {360, 740, 1}, {640, 400, 2}} { // 1280 wide at 200 % is 640
			b.look(scheme, size.width, size.height, size.scale)
			evaluate[int](b, string(axe)+";0")
			for _, v := range evaluate[[]string](b, axeRun) {
				b.t.Errorf("%s, %s, %d wide: %s", name, scheme, size.width, v)
			}
			for _, element := range evaluate[[]string](b, tooSmall) {
				b.t.Errorf("%s, %d wide: less than 44 pixels to touch: %s", name, size.width, element)
			}
			if evaluate[bool](b, `document.documentElement.scrollWidth > document.documentElement.clientWidth`) {
				b.t.Errorf("%s, %s, %d wide: it scrolls sideways", name, scheme, size.width)
			}
		}
	}
	b.look("light", 1100, 900, 1)
}
