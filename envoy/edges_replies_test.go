package envoy_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/postern/postern/envoy/envoyproc"
)

// A reply is a request beside the table, and what it gives through every edge.
type reply struct {
	name, secret, method string
	header               string // one more than usual, "" for none
	answer               http.HandlerFunc
	status               int
	body                 string // part of it
}

func abort(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }

var replyRows = []reply{
	{"filtered", "label", "GET", "", asJSON(labelBody), 200, cleanBody},
	{"whole", "both", "GET", "", asJSON(labelBody), 200, labelBody},
	{"withheld", "label", "GET", "", answers(200, labelBody, "Content-Type", "text/csv"), 502, `"response_withheld"`},
	{"not granted", "office", "GET", "", asJSON(labelBody), 403, `"api_secret_no_permission"`},
	{"field with an underscore", "both", "GET", "x_merchant_id", asJSON(labelBody), 400, `"invalid_request"`},
	{"upstream resets", "both", "GET", "", abort, 503, `"temporarily_unavailable"`},
	{"upstream resets, to be filtered", "label", "GET", "", abort, 503, `"temporarily_unavailable"`},
	{"upstream resets a change", "cancel", "DELETE", "", abort, 502, `"server_error"`},
}

// send sends it, for a path that no other row has.
func (r reply) send(t *testing.T, w *world, proxy *envoyproc.Process, upstream *api) (*http.Response, string) {
	t.Helper()
	n := strings.NewReplacer(" ", "-", ",", "").Replace(r.name)
	upstream.on(n, r.answer)
	var headers []string
	if r.header != "" {
		headers = []string{r.header, "evil"}
	}
	path := "/api/3/orders/" + n
	if r.method == "GET" {
		path += "/label"
	}
	response, body := w.send(t, proxy, r.secret, r.method, path, headers...)
	if response.StatusCode != r.status || !strings.Contains(body, r.body) {
		t.Errorf("%s: got %d %s, want %d %s", r.name, response.StatusCode, body, r.status, r.body)
	}
	if r.name != "whole" && strings.Contains(body, cost) {
		t.Errorf("%s: the body %s has the cost", r.name, body)
	}
	return response, body
}

// TestEdgeReplies compares what the table does not meet: answers that are
// filtered and withheld, and Envoy's own. At the end the gate dies while the
// upstream answers, so that the response filter is not there, and stays dead.
func TestEdgeReplies(t *testing.T) {
	type given struct {
		header http.Header
		body   string
	}
	want := map[string]given{}
	for _, e := range append([]edge{shipped}, edges...) {
		t.Run(e.name, func(t *testing.T) {
			w, upstream := newWorld(t), newAPI(t)
			proxy := e.start(t, w.serve(t), upstream.address)
			dies := func(rw http.ResponseWriter, r *http.Request) {
				w.server.Stop()
				asJSON(labelBody)(rw, r)
			}
			rows := append(replyRows, // in this order
				reply{"gate dies, to be filtered", "label", "GET", "", dies, 503, `"temporarily_unavailable"`},
				reply{"gate is dead", "both", "GET", "", asJSON(labelBody), 503, `"temporarily_unavailable"`})
			for _, r := range rows {
				response, body := r.send(t, w, proxy, upstream)
				if e.name == shipped.name {
					want[r.name] = given{response.Header, body}
					continue
				}
				if body != want[r.name].body {
					t.Errorf("%s: body %q, want that of envoy.yaml, %q", r.name, body, want[r.name].body)
				}
				e.compare(t, r.name, "answer", response.Header, want[r.name].header, map[string]bool{})
			}
			if upstream.received("gate-is-dead") != nil {
				t.Error("of a dead gate, a request went to the upstream")
			}
		})
	}
}

// TestEdgeFilterMissing takes away the route's word that it has the response
// filter. A secret that sees all is the control.
func TestEdgeFilterMissing(t *testing.T) {
	w, upstream := newWorld(t), newAPI(t)
	gate := w.serve(t)
	for _, e := range append([]edge{shipped}, edges...) {
		for name, other := range map[string]string{"of another version": "postern-filter: v0", "gone": "other: v1"} {
			t.Run(e.name+" "+name, func(t *testing.T) {
				proxy := e.start(t, gate, upstream.address, "postern-filter: v1", other)
				n := strings.ReplaceAll(t.Name(), "/", "-")
				upstream.on(n, asJSON(labelBody))
				response, body := w.ask(t, proxy, "label", "GET", n)
				if checkOurs(t, response, body); response.StatusCode != 503 || response.Header.Get("Retry-After") != "1" || upstream.received(n) != nil {
					t.Errorf("got %d %s, want 503, and nothing at the upstream", response.StatusCode, body)
				}
				if line := awaitLines(t, proxy, 1)[response.Header.Get("X-Request-Id")]; line["reason"] != "filter_missing" {
					t.Errorf("logged %v, want the reason filter_missing", line)
				}
				if response, body := w.ask(t, proxy, "both", "GET", n); response.StatusCode != 200 || body != labelBody {
					t.Errorf("control: got %d %s, want the upstream's answer", response.StatusCode, body)
				}
			})
		}
	}
}

// TestEdgeUnchecked demands of meshes, where others write routes, that what
// skips the check is refused: postern.unchecked is the lock for that.
func TestEdgeUnchecked(t *testing.T) {
	w, upstream := newWorld(t), newAPI(t)
	gate := w.serve(t)
	for _, e := range edges[:2] {
		proxy := e.start(t, gate, upstream.address, `                    check_settings:
                      context_extensions:
                        postern-filter: v1
`, "                    disabled: true\n")
		if response, body := w.ask(t, proxy, "both", "GET", e.name); response.StatusCode != 403 || upstream.received(e.name) != nil {
			t.Errorf("%s: got %d %s, want 403, and nothing at the upstream", e.name, response.StatusCode, body)
		}
	}
}

// TestEdgeUnpatched runs the table where Envoy Gateway takes no
// EnvoyPatchPolicy, so that the response filter meets answers that it was not
// told of, and withholds them. Those that it was told of it filters.
func TestEdgeUnpatched(t *testing.T) {
	w, upstream, labels := newWorld(t), newRecorder(t), newAPI(t)
	e, gate, withheld := edge{name: "envoy-gateway-unpatched", bootstrap: rendered("envoy-gateway-unpatched")}, w.serve(t), 0
	proxy := e.start(t, gate, upstream.address)
	for _, c := range readCases(t, w) {
		if c.envoy == "n/a" {
			continue
		}
		response, body := c.send(t, proxy.Listen)
		arrived, toFilter := upstream.last() != nil, c.want.reason == "filter_missing"
		if (response.StatusCode < 400) != toFilter || arrived && c.wantThroughEnvoy().status != "200" {
			t.Errorf("%s: got %d %s, and it arrived: %v; want an error, and nothing at the upstream that envoy.yaml would not let through", c.name, response.StatusCode, body, arrived)
		}
		if response.StatusCode == 502 {
			withheld++
		}
	}
	if withheld < 80 {
		t.Errorf("%d answers are 502: want nearly all, as README.md there says", withheld)
	}
	replyRows[0].send(t, w, e.start(t, gate, labels.address), labels)
}

// TestEdgeBare runs the table where Istio's EnvoyFilter is gone: the check goes
// on, and nothing more is let through.
func TestEdgeBare(t *testing.T) {
	w, upstream := newWorld(t), newRecorder(t)
	proxy := edge{name: "istio-bare", bootstrap: rendered("istio-bare")}.start(t, w.serve(t), upstream.address)
	overridden := false
	for _, c := range readCases(t, w) {
		if c.envoy == "n/a" {
			continue
		}
		response, body := c.send(t, proxy.Listen)
		want, arrived := c.wantThroughEnvoy().status, upstream.last()
		if strings.Contains(c.authorization, w.tokens["near"]) || c.want.reason == "filter_missing" {
			want = "503" // the gate is not told the address, or of a filter
		}
		if got := fmt.Sprint(response.StatusCode); got != want && (want != "400" || got != "403") || (arrived != nil) != (want == "200") {
			t.Errorf("%s: got %s %s, and the upstream %v; want %s", c.name, got, body, arrived, want)
		}
		if arrived == nil {
			continue
		}
		if h := arrived.Header; h.Get("X-Merchant-Id") != "m-1" || h.Get("Authorization") != "" {
			t.Errorf("%s: the upstream got %v, want the merchant by the gate's word, and no credential", c.name, h)
		}
		overridden = overridden || arrived.Header.Get("X-Http-Method-Override") != ""
	}
	if !overridden {
		t.Error("README.md of deploy/istio says that x-http-method-override passes, and it does not")
	}
}
