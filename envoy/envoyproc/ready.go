package envoyproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

var admin = http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// awaitReady fills in the addresses once Envoy is ready to be asked.
func (p *Process) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for {
		err := p.ask(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-p.done:
			return errors.New("it is not running") // Stop has the reason
		case <-ctx.Done():
			return fmt.Errorf("not ready (%w), saying:\n%s", err, p.Stderr())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func (p *Process) ask(ctx context.Context) error {
	addr, err := os.ReadFile(p.adminFile())
	if err != nil {
		return err
	}
	p.Admin = string(addr)
	state, err := p.get(ctx, "/ready")
	if err != nil {
		return err
	}
	if state != "LIVE" {
		return fmt.Errorf("it is %s", state)
	}
	listeners, err := p.get(ctx, "/listeners") // public::127.0.0.1:41234
	if err != nil {
		return err
	}
	_, listen, found := strings.Cut(listeners, "public::")
	if !found {
		return fmt.Errorf("no listener %q in %q", "public", listeners)
	}
	p.Listen = listen
	return nil
}

func (p *Process) get(ctx context.Context, path string) (string, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+p.Admin+path, nil)
	if err != nil {
		return "", err
	}
	resp, err := admin.Do(r)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(body)), err
}
