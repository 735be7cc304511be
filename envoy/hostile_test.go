package envoy_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// TestHostileAlone runs the corpus against the gate, over gRPC: with headers
// as text, and raw.
func TestHostileAlone(t *testing.T) {
	w := newWorld(t)
	gate := dial(t, w.serve(t))
	run := 0
	for _, r := range readRows(t, w.fillAll) {
		want, ok := r.want[alone]
		if !ok {
			continue
		}
		run++
		for _, raw := range []bool{false, true} {
			response, err := gate.Check(t.Context(), r.check(raw))
			if err != nil {
				t.Errorf("%s: %s: %v", r.class, r.name, err)
				continue
			}
			a := answerOf(response)
			if got := (outcome{status: a.status, reason: a.reason}); got.String() != (outcome{want.status, want.reason, ""}).String() {
				t.Errorf("%s: %s: headers raw %v: %v, want %v: %s", r.class, r.name, raw, got, want, r.why)
			}
		}
	}
	t.Logf("%d rows ran against %s", run, alone)
}

// TestHostileThroughEnvoy runs the corpus through real Envoys.
func TestHostileThroughEnvoy(t *testing.T) {
	w := newWorld(t)
	rows := readRows(t, w.fillAll)
	for _, way := range []string{hardened, plain, rawPlain} {
		t.Run(strings.ReplaceAll(way, " ", "_"), func(t *testing.T) {
			upstream, eye := newRawRecorder(t), &watch{}
			proxy := startEnvoy(t, way, w.serveWatched(t, eye), upstream.address)
			run := 0
			for _, r := range rows {
				if _, ok := r.want[way]; ok {
					run++
					s := r.send(proxy.Listen)
					arrived, broken := upstream.take()
					r.judge(t, way, passage{s, eye.take(), arrived, broken})
				}
			}
			for name, token := range w.tokens {
				if strings.Contains(proxy.AccessLog()+proxy.Stderr(), token) {
					t.Errorf("Envoy logged the token of %s", name)
				}
			}
			t.Logf("%d rows ran through %s", run, way)
		})
	}
}

// send sends the row as its client would.
func (r row) send(address string) said {
	if r.kind == "h2" {
		return sendH2(address, r.fields)
	}
	return sendRaw(address, r.data, bytes.Count(r.data, []byte(" HTTP/1.1\r\n")) > 1)
}

// passage is all that was seen of a row on its way.
type passage struct {
	said
	checks  []checked
	arrived []arrival
	broken  []string
}

// judge demands what the row says, and what holds for every row: what arrives
// was allowed as it arrives, and says of its caller what the gate says.
func (r row) judge(t *testing.T, way string, p passage) {
	t.Helper()
	fail := func(format string, args ...any) {
		t.Helper()
		t.Errorf("%s: %s: "+format, append([]any{r.class, r.name}, args...)...)
	}
	want := r.want[way]
	got := outcome{status: p.status}
	// What Envoy refuses by itself it may have asked the gate about before.
	if len(p.checks) > 0 && p.status != "closed" && (p.status == "200" || !p.checks[0].allowed) {
		got.reason = p.checks[0].reason
	}
	if len(p.arrived) > 0 {
		if _, sent := r.sent(); p.arrived[0].path != sent {
			got.path = p.arrived[0].path
		}
	}
	if got != want {
		fail("%v, want %v: %s (%v; %d checks, %d arrived)", got, want, r.why, p.trouble, len(p.checks), len(p.arrived))
	}
	var allowed []checked
	for _, c := range p.checks {
		if c.allowed {
			allowed = append(allowed, c)
		}
	}
	if len(p.broken) > 0 || len(p.arrived) > len(allowed) || p.status == "200" && len(p.arrived) != len(allowed) {
		fail("%d requests were allowed, and %d arrived (broken: %q)", len(allowed), len(p.arrived), p.broken)
		return
	}
	for i, a := range p.arrived {
		if a.method != allowed[i].method || a.path != allowed[i].path {
			fail("%s %q arrived, and %s %q was allowed", a.method, a.path, allowed[i].method, allowed[i].path)
		}
		r.judgeFields(fail, way, a)
	}
}

// unwelcome are the fields that must not arrive, whoever wrote them.
var unwelcome = []string{"authorization", "proxy-authorization", "upgrade", "transfer-encoding"}

func (r row) judgeFields(fail func(string, ...any), way string, a arrival) {
	if m, id := a.values("x-merchant-id"), a.values("x-api-secret-id"); !slices.Equal(m, []string{"m-1"}) || len(id) != 1 || len(id[0]) != 32 {
		fail("x-merchant-id %q and x-api-secret-id %q arrived, want the gate's", m, id)
	}
	if hosts := a.values("host"); len(hosts) != 1 || strings.Contains(hosts[0], ",") {
		fail("hosts %q arrived, want one", hosts)
	}
	for _, f := range a.fields {
		if slices.Contains(unwelcome[:1], f[0]) {
			fail("%s arrived", f[0])
		}
		// What a client may not say, it says with this word in it.
		if way == hardened && strings.Contains(f[1], "evil") {
			fail("%s: %s arrived", f[0], f[1])
		}
	}
}
