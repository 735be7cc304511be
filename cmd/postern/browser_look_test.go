package main

import (
	"context"
	"os"
	"path/filepath"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// protocol is a command of the browser's protocol.
func protocol[P any](c cdp.Command[P, cdp.Empty], parameters P) chromedp.Action[chromedp.Void] {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, c, parameters)
		return err
	})
}

// scripts lets pages run scripts, or not.
func (b *browser) scripts(run bool) {
	b.t.Helper()
	b.do(protocol(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: !run}))
}

// look has the browser show pages so.
func (b *browser) look(scheme string, width, height int64, scale float64) {
	b.t.Helper()
	b.do(
		protocol(emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: width, Height: height, DeviceScaleFactor: scale, Mobile: width < 500}),
		protocol(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
			{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"},
		}}),
	)
}

// evaluate is what a script on the page returns.
func evaluate[T any](b *browser, script string) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatalf("evaluate %.100s: %v", script, err)
	}
	return value
}

// picture keeps a picture of the page, where POSTERN_PICTURES names a
// folder for it: those of README.md are made so.
func (b *browser) picture(name, scheme string, width, height int64) {
	b.t.Helper()
	dir := os.Getenv("POSTERN_PICTURES")
	if dir == "" {
		return
	}
	b.look(scheme, width, height, 1)
	png, err := chromedp.Run(b.ctx, chromedp.CaptureScreenshot())
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	b.look("light", 1100, 900, 1)
}

// shownWhole demands that a field shows all of what it holds on a phone, and of
// the longest secret there can be, also where the field does not grow by itself.
func (b *browser) shownWhole(selector string) {
	b.t.Helper()
	b.look("light", 360, 740, 1)
	for _, sizing := range []string{"content", "fixed"} {
		if hidden := evaluate[[]string](b, `(() => { const f = document.querySelector("`+selector+`"), is = f.value; f.style.fieldSizing = "`+sizing+`";
			const hidden = [is, "W".repeat(44)].filter(text => { f.value = text; return f.scrollWidth > f.clientWidth || f.scrollHeight > f.clientHeight });
			f.value = is; f.style.fieldSizing = ""; return hidden })()`); len(hidden) > 0 {
			b.t.Errorf("%s, of %s size, does not show all of %d texts on a phone", selector, sizing, len(hidden))
		}
	}
	b.look("light", 1100, 900, 1)
}

// tooSmall are what people touch on the page and is less than 44 pixels high or
// wide. A tick is touched anywhere on its line.
const tooSmall = `[...document.querySelectorAll("a:not(.skip), button, input:not([type=hidden]), textarea")].filter(e => {
	const at = (e.closest(".tick") || e).getBoundingClientRect();
	return !e.disabled && at.height > 0 && (at.height < 44 || at.width < 44);
}).map(e => e.outerHTML)`
