package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// decisionLine is a line of the decision log, with the number of its fields.
type decisionLine struct {
	Time                                               time.Time
	Decision, Reason, Endpoint, Merchant_ID, Secret_ID string
	US                                                 *int64
	Left_Out                                           *int
	fields                                             []string
}

func (g *gate) decisions() (lines []decisionLine) {
	g.s.t.Helper()
	for line := range strings.Lines(g.log.String()) {
		var d decisionLine
		var all map[string]any
		if !strings.Contains(line, `"msg":"decision"`) {
			continue
		}
		if err := json.Unmarshal([]byte(line), &d); err != nil || json.Unmarshal([]byte(line), &all) != nil || d.US == nil || d.Left_Out == nil || time.Since(d.Time) > time.Minute {
			g.s.t.Fatalf("line %q of the decision log: %v, want its time, us and left_out", line, err)
		}
		d.fields = slices.Sorted(maps.Keys(all))
		lines = append(lines, d)
	}
	return lines
}

// decided is how many decisions the log tells of, those left out included.
func (g *gate) decided() (n int) {
	for _, d := range g.decisions() {
		n += 1 + *d.Left_Out
	}
	return n
}

// The decision log has what Envoy's access log may have of a verdict, and of
// the request nothing else.
func TestDecisionLog(t *testing.T) {
	s := newShell(t)
	granted := s.create("--permission getOrderLabel+shipping_price")
	legacy := s.form("merchant create m-9")
	g := s.serve("--decision-log 100")
	g.answers(granted.Secret, "GET /api/3/orders/loud-path/label?loud=query", 200, "granted")
	g.answers(legacy.Secret, "GET /loud-path", 200, "unrestricted")
	g.answers(granted.Secret, "GET /api/3/orders/loud-path", 403, "not_granted")
	g.answers(granted.Secret, "GET /loud-path", 403, "not_catalogued")
	g.answers("loud-token-of-nobody", "GET /loud-path", 401, "unknown")
	g.answers("loud", "GET /loud-path", 401, "malformed")
	g.await("log six decisions", func() bool { return len(g.decisions()) == 6 })
	want := []decisionLine{
		{Decision: "allow", Reason: "granted", Endpoint: "getOrderLabel", Merchant_ID: granted.Merchant, Secret_ID: granted.ID},
		{Decision: "allow", Reason: "unrestricted", Merchant_ID: "m-9", Secret_ID: legacy.ID},
		{Decision: "deny", Reason: "not_granted", Endpoint: "getOrder", Merchant_ID: granted.Merchant, Secret_ID: granted.ID},
		{Decision: "deny", Reason: "not_catalogued", Merchant_ID: granted.Merchant, Secret_ID: granted.ID},
		{Decision: "deny", Reason: "unknown"},
		{Decision: "deny", Reason: "malformed"},
	}
	known := strings.Fields("decision endpoint left_out level merchant_id msg reason secret_id time us")
	for i, got := range g.decisions() {
		for _, field := range got.fields {
			if !slices.Contains(known, field) {
				t.Errorf("line %d of the decision log has %s: want none but %v", i, field, known)
			}
		}
		if *got.Left_Out != 0 {
			t.Errorf("line %d: left_out = %d, want 0", i, *got.Left_Out)
		}
		got.Time, got.US, got.Left_Out, got.fields = time.Time{}, nil, nil, nil
		if !slices.Equal([]string{got.Decision, got.Reason, got.Endpoint, got.Merchant_ID, got.Secret_ID},
			[]string{want[i].Decision, want[i].Reason, want[i].Endpoint, want[i].Merchant_ID, want[i].Secret_ID}) {
			t.Errorf("line %d = %+v, want %+v", i, got, want[i])
		}
	}
	if strings.Contains(g.log.String(), "loud") {
		t.Errorf("the log holds what the requests said:\n%s", g.log)
	}
}

// A flood of one kind costs N lines a second, hides none of the other, and is
// counted: no decision is lost to the sum.
func TestDecisionLogLimits(t *testing.T) {
	s := newShell(t)
	legacy := s.form("merchant create m-9")
	g := s.serve("--decision-log 2")
	begun := time.Now()
	for range 200 {
		g.answers("loud", "GET /a", 401, "malformed")
	}
	g.answers(legacy.Secret, "GET /a", 200, "unrestricted")
	g.await("log what is allowed", func() bool {
		lines := g.decisions()
		return len(lines) > 0 && lines[len(lines)-1].Decision == "allow"
	})
	if got, most := len(g.decisions()), 2+1+int(2*time.Since(begun).Seconds())+1; got < 3 || got > most {
		t.Errorf("the log has %d decisions of 201, want 3 to %d", got, most)
	}
	time.Sleep(600 * time.Millisecond)
	g.answers("loud", "GET /a", 401, "malformed")
	g.await("count what was left out", func() bool { return g.decided() == 202 })
}

// A log that nobody reads keeps no check waiting, and its room has an end.
func TestDecisionLogStandsStill(t *testing.T) {
	s := newShell(t)
	g := s.serve("--decision-log 5000")
	g.log.mu.Lock()
	const n = 1500
	for range n {
		g.answers("loud", "GET /a", 401, "malformed")
	}
	g.log.mu.Unlock()
	g.answers("loud", "GET /a", 401, "malformed")
	g.await("tell of all", func() bool { return g.decided() == n+1 })
	if got := len(g.decisions()); got > n-100 {
		t.Errorf("control: %d decisions of %d were kept for the log: want it to have stood still", got, n+1)
	}
}

// Unless asked for, there is none.
func TestDecisionLogIsOff(t *testing.T) {
	s := newShell(t)
	g := s.serve("")
	g.answers("loud", "GET /a", 401, "malformed")
	g.ends()
	if got := g.decisions(); len(got) > 0 {
		t.Errorf("without --decision-log the log has %+v", got)
	}
}
