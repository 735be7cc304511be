package envoy_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// TestHostileAlone runs the corpus against the gate, over gRPC: with headers
// as text, and raw.
func TestHostileAlone(t *testing.T) {
	w := newWorld(t)
	w.hostileAlone(t, w.serve(t))
}

func (w *world) hostileAlone(t testing.TB, address string) {
	t.Helper()
	gate := dial(t, address)
	run := 0
	for _, r := range readRows(t, w.fillAll) {
		want, ok := r.want[alone]
		if !ok {
			continue
		}
		run++
		for _, raw := range []bool{false, true} {
			response, err := gate.Check(r.context(t.Context()), r.check(raw))
			if err != nil {
				t.Errorf("%s: %s: %v", r.class, r.name, err)
				continue
			}
			a := answerOf(response)
			if got := (outcome{status: a.status, reason: a.reason}); got != (outcome{want.status, want.reason, ""}) {
				t.Errorf("%s: %s: headers raw %v: %v, want %v: %s", r.class, r.name, raw, got, want, r.why)
			}
			if want.status == "200" {
				checkAllow(t, r, response)
			}
		}
	}
	t.Logf("%d rows ran against %s", run, alone)
}

// checkAllow demands that an allow has Envoy write over what the client said
// of itself, and remove its credential.
func checkAllow(t testing.TB, r row, response *authv3.CheckResponse) {
	t.Helper()
	ok := response.GetOkResponse()
	set := headers(ok.GetHeaders())
	if set["x-merchant-id"] != "m-1" || len(set["x-api-secret-id"]) != 32 || !slices.Contains(ok.GetHeadersToRemove(), "authorization") {
		t.Errorf("%s: %s: upstream gets %v less %v, want the two ids, and no authorization", r.class, r.name, set, ok.GetHeadersToRemove())
	}
	for _, o := range ok.GetHeaders() {
		if o.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%s: %s: %s is set by %v, want a client's written over", r.class, r.name, o.GetHeader().GetKey(), o.GetAppendAction())
		}
	}
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
					for _, fault := range r.judge(way, passage{s, eye.take(), arrived, broken}) {
						t.Error(fault)
					}
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

// judge finds what is not as the row says, or not as it is for every row: what
// arrives was allowed as it arrives, and says of its caller what the gate says.
func (r row) judge(way string, p passage) (faults []string) {
	fail := func(format string, args ...any) {
		faults = append(faults, fmt.Sprintf("%s: %s: "+format, append([]any{r.class, r.name}, args...)...))
	}
	if want, got := r.want[way], r.outcome(p); got != want {
		fail("%v, want %v: %s (%v; %d checks, %d arrived)", got, want, r.why, p.trouble, len(p.checks), len(p.arrived))
	}
	allowed := slices.DeleteFunc(p.checks, func(c checked) bool { return !c.allowed })
	if len(p.broken) > 0 || len(p.arrived) > len(allowed) || p.status == "200" && len(p.arrived) != len(allowed) {
		fail("%d requests were allowed, and %d arrived (broken: %q)", len(allowed), len(p.arrived), p.broken)
		return faults
	}
	for i, a := range p.arrived {
		if a.method != allowed[i].method || a.path != allowed[i].path {
			fail("%s %q arrived, and %s %q was allowed", a.method, a.path, allowed[i].method, allowed[i].path)
		}
		r.judgeFields(fail, way, a)
	}
	return faults
}

func (r row) outcome(p passage) outcome {
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
	return got
}

func (r row) judgeFields(fail func(string, ...any), way string, a arrival) {
	if m, id := a.values("x-merchant-id"), a.values("x-api-secret-id"); !slices.Equal(m, []string{"m-1"}) || len(id) != 1 || len(id[0]) != 32 {
		fail("x-merchant-id %q and x-api-secret-id %q arrived, want the gate's", m, id)
	}
	if hosts := a.values("host"); len(hosts) != 1 || strings.Contains(hosts[0], ",") {
		fail("hosts %q arrived, want one", hosts)
	}
	for _, f := range a.fields {
		if f[0] == "authorization" {
			fail("%s arrived", f[0])
		}
		// What a client may not say, it says with this word in it.
		if way == hardened && strings.Contains(f[1], "evil") {
			fail("%s: %s arrived", f[0], f[1])
		}
	}
}
