package deploy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/postern/postern/envoy/envoyproc"
)

const foreign = "a-token-of-the-upstream-0123456789"

// A would is a request, and what the gate says of it.
type would struct {
	name, path, token          string
	decision, reason, endpoint string
	enforced                   int // the status where the gate is obeyed
}

func wouldBe(s *stack) []would {
	tracker, labels := s.mint("m-1", "trackOrder"), s.mint("m-1", "getOrderLabel")
	lost, id := s.mintWithID("m-1", "trackOrder")
	s.redis.Do("DEL", "postern:secret:"+id) // what the store loses, the gate does not deny: it cannot know
	return []would{
		{"granted", track, tracker, "allow", "granted", "trackOrder", 200},
		{"granted, to be filtered", label, labels, "allow", "granted", "getOrderLabel", 200},
		{"not granted", label, tracker, "deny", "not_granted", "getOrderLabel", 403},
		{"no secret", track, "", "deny", "no_secret", "trackOrder", 401},
		{"the upstream's own", track, foreign, "deny", "unknown", "trackOrder", 401},
		{"not in the catalog", "/old/page", tracker, "deny", "not_catalogued", "", 403},
		{"lost by the store", track, lost, "error", "record_missing", "trackOrder", 503},
	}
}

// In shadow nothing changes for clients and upstream, and all is told.
func TestShadow(t *testing.T) {
	s := newStack(t)
	s.serve()
	proxy := s.envoy(edited(t, "shadow/README.md"))
	rows := wouldBe(s)
	for _, w := range rows {
		if r, body := w.send(t, proxy); r.StatusCode != 200 || body != answered {
			t.Errorf("%s: in shadow = %d %s, want 200 and the upstream's answer whole", w.name, r.StatusCode, body)
		}
		w.checkUntouched(t, s.upstream.last())
	}
	for _, w := range rows {
		w.checkTold(t, s, proxy)
	}
	checkCount(t, proxy, "shadow_denied: 5")
	metrics := s.metrics()
	for _, want := range []string{`postern_checks_total{decision="allow",reason="granted"} 2`, `postern_checks_total{decision="deny",reason="not_granted"} 1`} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("the gate's metrics lack %s", want)
		}
	}

	s.stop() // nor does a gate that is dead change anything
	if r, body := rows[1].send(t, proxy); r.StatusCode != 200 || body != answered {
		t.Errorf("in shadow of a dead gate = %d %s, want 200", r.StatusCode, body)
	}
	rows[1].checkUntouched(t, s.upstream.last())
	checkCount(t, proxy, "shadow_error: 1")
}

// The control: as envoy.yaml ships, the same requests are refused, filtered and
// freed of their credential.
func TestEnforced(t *testing.T) {
	s := newStack(t)
	s.serve()
	proxy := s.envoy(nil)
	for _, w := range wouldBe(s) {
		w.checkEnforced(t, s, proxy)
	}
}

// What the page says of shadow_mode alone, and of its step 1: an allow changes
// the request, and only --forward-secret leaves the credential in it.
func TestShadowModeAlone(t *testing.T) {
	s := newStack(t)
	token := s.mint("m-1", "trackOrder")
	proxy := s.envoy(func(bootstrap string) string {
		return strings.Replace(bootstrap, "transport_api_version: V3\n", "transport_api_version: V3\n              shadow_mode: true\n", 1)
	})
	for flags, want := range map[string]string{"": "", "--forward-secret": "Bearer " + token} {
		s.serve(strings.Fields(flags)...)
		if r, body := get(t, proxy.Listen, track, token); r.StatusCode != 200 {
			t.Errorf("with %q = %d %s, want 200", flags, r.StatusCode, body)
		}
		if h := s.upstream.last(); h.Get("Authorization") != want || h.Get("X-Merchant-Id") != "m-1" {
			t.Errorf("with %q the upstream got authorization %q of merchant %q, want %q of m-1", flags, h.Get("Authorization"), h.Get("X-Merchant-Id"), want)
		}
	}
}

// send asks as net/http does, for gzip: a filtered answer would change that.
func (w would) send(t *testing.T, proxy *envoyproc.Process) (*http.Response, string) {
	t.Helper()
	return get(t, proxy.Listen, w.path, w.token)
}

// checkUntouched checks that the upstream got what the client sent.
func (w would) checkUntouched(t *testing.T, h http.Header) {
	t.Helper()
	want := ""
	if w.token != "" {
		want = "Bearer " + w.token
	}
	if h == nil || h.Get("Authorization") != want || h.Get("Accept-Encoding") != "gzip" || len(h["X-Merchant-Id"]) > 0 {
		t.Errorf("%s: in shadow the upstream got %v, want the client's own authorization and accept-encoding, and no merchant", w.name, h)
	}
}

// checkTold looks for the verdict in the access log and in Envoy's statistics.
func (w would) checkTold(t *testing.T, s *stack, proxy *envoyproc.Process) {
	t.Helper()
	s.await("the log to hold "+w.name, func() bool {
		for line := range strings.Lines(proxy.AccessLog()) {
			if strings.Contains(line, `"reason":"`+w.reason+`"`) && strings.Contains(line, `"decision":"`+w.decision+`"`) &&
				strings.Contains(line, `"status":200`) && (w.endpoint == "" || strings.Contains(line, `"endpoint":"`+w.endpoint+`"`)) {
				return true
			}
		}
		return false
	})
	_, stats := get(t, proxy.Admin, "/stats/prometheus?filter=verdicts", "")
	for line := range strings.Lines(stats) {
		if strings.HasPrefix(line, "envoy_postern_verdicts{") && strings.Contains(line, `reason="`+w.reason+`"`) && strings.Contains(line, `decision="`+w.decision+`"`) &&
			(w.endpoint == "" || strings.Contains(line, `endpoint="`+w.endpoint+`"`)) && strings.HasSuffix(line, "} 1\n") {
			return
		}
	}
	t.Errorf("%s: the statistics do not count it by endpoint:\n%s", w.name, stats)
}

func checkCount(t *testing.T, proxy *envoyproc.Process, want string) {
	t.Helper()
	if _, stats := get(t, proxy.Admin, "/stats?filter=shadow", ""); !strings.Contains(stats, "http.public.ext_authz.postern."+want+"\n") {
		t.Errorf("statistics:\n%s, want http.public.ext_authz.postern.%s", stats, want)
	}
}

// metrics are the gate's own.
func (s *stack) metrics() string {
	s.t.Helper()
	response, err := http.Get("http://" + s.ops + "/metrics")
	if err != nil {
		s.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(text)
}
