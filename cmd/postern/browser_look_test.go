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
