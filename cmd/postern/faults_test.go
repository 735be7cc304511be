//go:build faults

package main

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"github.com/postern/postern/authz"
)

// long is whether the faults last as long as they do in `make faults`. The
// short ones are part of every test run, under the race detector and beside
// other tests: their bars are lower.
var long = os.Getenv("POSTERN_FAULTS") == "long"

// pick is a figure of the long version or of the short one.
func pick[T any](inLong, inShort T) T {
	if long {
		return inLong
	}
	return inShort
}

// shipped sets back what the tests' sidecars have otherwise.
const shipped = "--redis-timeout 50ms"

// request is what every secret of these tests is granted, and allows.
const (
	request    = "GET /api/3/orders/1/label"
	permission = "--permission getOrderLabel+shipping_price"
)

// TestFaultsMeasured measures revocation, outages and restarts, and prints one
// table of what came out.
func TestFaultsMeasured(t *testing.T) {
	m := &measures{}
	t.Cleanup(func() { m.print(t) })
	t.Run("revocation", m.revocation)
	t.Run("push lost", m.pushLost)
	t.Run("outage", m.outage)
	t.Run("restarts", m.restarts)
}

// measures is the table of what was measured.
type measures struct {
	mu   sync.Mutex // guards rows
	rows []string
}

// add adds a row, and fails the test where got is beyond its bar: the last
// column in the long version, a wider one in the short version.
func (m *measures) add(t *testing.T, name string, got, bar, wide time.Duration) {
	t.Helper()
	m.row(t, name, got.Round(10*time.Microsecond), fmt.Sprintf("at most %v", bar), got <= pick(bar, wide))
}

// none adds a row of what must not happen. Through Envoy, which waits for a
// quarter of a second, it may on a machine that is busy with other tests.
func (m *measures) none(t *testing.T, name string, got, of int) {
	t.Helper()
	m.row(t, name, fmt.Sprintf("%d of %d", got, of), "0", of > 0 && got <= pick(0, of/50))
}

// note adds a row without a bar.
func (m *measures) note(name string, got any) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.rows = append(m.rows, fmt.Sprintf("%-62s %16v", name, got))
}

func (m *measures) row(t *testing.T, name string, got any, bar string, met bool) {
	t.Helper()
	m.note(name, fmt.Sprintf("%16v  %s", got, bar))
	if !met {
		t.Errorf("%s = %v, want %s", name, got, bar)
	}
}

func (m *measures) print(t *testing.T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	slices.Sort(m.rows)
	t.Logf("measures (bars are those of make faults):\n%-62s %16s  %s\n%s", "measure", "got", "bar", strings.Join(m.rows, "\n"))
}

// times are how long something took, each time.
type times []time.Duration

// at is the time that a share of all did not exceed.
func (all times) at(share float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

// secrets makes n secrets with the same grants. Rotating needs no catalog, which
// takes longer to read than all else.
func (s *shell) secrets(n int) []authz.Form {
	s.t.Helper()
	all := []authz.Form{s.create(permission)}
	for len(all) < n {
		all = append(all, s.form("secret rotate", all[0].ID))
	}
	return all
}

// verdict is a gate's status and reason for a token. Unlike ask it keeps
// nothing, so that it can be called a million times.
func (g *gate) verdict(token string) (status int, reason string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	method, path, _ := strings.Cut(request, " ")
	r, err := g.checks.Check(ctx, &authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{
		Http: &authv3.AttributeContext_HttpRequest{Method: method, Path: path, Headers: map[string]string{"authorization": "Bearer " + token}},
	}}})
	if err != nil {
		return 0, err.Error()
	}
	reason = r.GetDynamicMetadata().GetFields()["reason"].GetStringValue()
	if r.GetOkResponse() != nil && r.GetStatus().GetCode() == 0 {
		return 200, reason
	}
	return int(r.GetDeniedResponse().GetStatus().GetCode()), reason
}

// warm has a gate know secrets, and vouch for them without asking the store.
func (g *gate) warm(all ...authz.Form) {
	g.s.t.Helper()
	for _, f := range all {
		g.await("allow "+f.ID, func() bool { status, _ := g.verdict(f.Secret); return status == 200 })
	}
	g.awaitFresh()
}

func (g *gate) awaitFresh() {
	g.s.t.Helper()
	g.awaitServing()
	g.await("be fresh", func() bool { return g.metric("postern_fresh") == 1 })
}

// awaitServing waits until the sockets are this sidecar's: it may be ready
// before that.
func (g *gate) awaitServing() {
	g.s.t.Helper()
	g.await("serve", func() bool { return strings.Contains(g.log.String(), `"msg":"serving"`) })
}

// metric is the value of a metric, or -1 where there is none.
func (g *gate) metric(name string) (value float64) {
	_, text := g.get("/metrics")
	_, after, _ := strings.Cut(text, "\n"+name+" ")
	if _, err := fmt.Sscan(after, &value); err != nil {
		return -1
	}
	return value
}
