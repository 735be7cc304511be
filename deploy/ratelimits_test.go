package deploy

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/postern/postern/envoy/envoyproc"
)

const (
	track = "/api/3/orders/PP1/tracking"
	label = "/api/3/orders/PP1/label" // its answer is filtered
	burst = 60                        // of the example
)

// A merchant's limit is its own: no other feels it, and no flood from outside
// takes of it.
func TestRateLimits(t *testing.T) {
	s := newStack(t)
	s.serve()
	greedy, second, label1, other := s.mint("m-1", "trackOrder"), s.mint("m-1", "trackOrder"), s.mint("m-1", "getOrderLabel"), s.mint("m-2", "trackOrder")
	proxy := s.envoy(unhurried(t))

	for _, token := range []string{"", "bm8tc3VjaC1zZWNyZXQtYW55d2g", label1} { // the last has no grant for it
		for range 2 * burst {
			if r, body := get(t, proxy.Listen, track, token); r.StatusCode != 401 && r.StatusCode != 403 {
				t.Fatalf("a request that may not = %d %s, want 401 or 403", r.StatusCode, body)
			}
		}
	}
	if r, _ := get(t, proxy.Listen, track, greedy); r.StatusCode != 200 || r.Header.Get("X-Ratelimit-Limit") == "" || r.Header.Get("X-Ratelimit-Remaining") != "59" {
		t.Errorf("the first request after a flood = %d, %v, want 200 with 59 left", r.StatusCode, r.Header)
	}
	if n := untilLimited(t, proxy, greedy); n != burst-1 {
		t.Errorf("the merchant got %d more answers, want %d", n, burst-1)
	}
	for token, path := range map[string]string{greedy: track, second: track, label1: label} {
		s.upstream.last()
		r, body := get(t, proxy.Listen, path, token)
		checkLimited(t, r, body)
		if s.upstream.last() != nil {
			t.Errorf("%s went to the upstream", path)
		}
	}
	if r, _ := get(t, proxy.Listen, track, other); r.StatusCode != 200 || r.Header.Get("X-Ratelimit-Remaining") != "59" {
		t.Errorf("another merchant's request = %d, %v, want 200 with 59 left", r.StatusCode, r.Header)
	}
	s.await("the log to name who was refused", func() bool {
		return strings.Contains(proxy.AccessLog(), `"details":"local_rate_limited"`) && strings.Contains(proxy.AccessLog(), `"merchant_id":"m-1"`)
	})
	if _, stats := get(t, proxy.Admin, "/stats?filter=http_local_rate_limit", ""); !strings.Contains(stats, "postern.http_local_rate_limit.rate_limited: 4\n") {
		t.Errorf("statistics: %s, want rate_limited as the page names it", stats)
	}
}

// The limit of one merchant's own that the page shows, in the place of all others'.
func TestRateLimitOfOneMerchant(t *testing.T) {
	s := newStack(t)
	s.serve()
	m1, m2 := s.mint("m-1", "trackOrder"), s.mint("m-2", "trackOrder")
	proxy := s.envoy(func(bootstrap string) string {
		text := edited(t, "rate-limits/README.md")(bootstrap)
		return strings.ReplaceAll(strings.ReplaceAll(text, "# - entries:", "- entries:"), "#   token_bucket:", "  token_bucket:")
	})
	for token, want := range map[string]string{m1: "59", m2: "599"} {
		if r, _ := get(t, proxy.Listen, track, token); r.StatusCode != 200 || r.Header.Get("X-Ratelimit-Remaining") != want {
			t.Errorf("first request = %d, %v, want %s left", r.StatusCode, r.Header, want)
		}
	}
}

// Envoy forgets the bucket of who was quiet longest: the room for them matters.
func TestRateLimitForgets(t *testing.T) {
	s := newStack(t)
	s.serve()
	m1, m2 := s.mint("m-1", "trackOrder"), s.mint("m-2", "trackOrder")
	for room, want := range map[string]int{"1": 200, "100000": 429} {
		proxy := s.envoy(func(bootstrap string) string {
			return strings.Replace(unhurried(t)(bootstrap), "max_dynamic_descriptors: 100000", "max_dynamic_descriptors: "+room, 1)
		})
		untilLimited(t, proxy, m1)
		get(t, proxy.Listen, track, m2)
		if r, _ := get(t, proxy.Listen, track, m1); r.StatusCode != want {
			t.Errorf("with room for %s buckets, a merchant without any left gets %d after another's request, want %d", room, r.StatusCode, want)
		}
	}
}

// The control: without the page's diff nobody is limited.
func TestNoRateLimits(t *testing.T) {
	s := newStack(t)
	s.serve()
	token, proxy := s.mint("m-1", "trackOrder"), s.envoy(nil)
	for range 2 * burst {
		if r, body := get(t, proxy.Listen, track, token); r.StatusCode != 200 {
			t.Fatalf("without rate limits = %d %s, want 200", r.StatusCode, body)
		}
	}
}

// unhurried is what the page makes of a bootstrap, with buckets that fill a
// hundred times slower: a loaded machine must not win a request.
func unhurried(t *testing.T) func(string) string {
	return func(bootstrap string) string {
		return strings.ReplaceAll(edited(t, "rate-limits/README.md")(bootstrap), "fill_interval: 60s", "fill_interval: 6000s")
	}
}

// untilLimited is how many requests are allowed before one is not.
func untilLimited(t *testing.T, proxy *envoyproc.Process, token string) int {
	t.Helper()
	for n := range 3 * burst {
		if r, _ := get(t, proxy.Listen, track, token); r.StatusCode != 200 {
			return n
		}
	}
	return 3 * burst
}

func checkLimited(t *testing.T, r *http.Response, body string) {
	t.Helper()
	var form struct {
		Error       string
		Description string `json:"error_description"`
	}
	if err := json.Unmarshal([]byte(body), &form); err != nil || form.Error != "rate_limited" || form.Description == "" || r.Header.Get("Content-Type") != "application/json" {
		t.Errorf("body %s of type %q (%v), want our JSON", body, r.Header.Get("Content-Type"), err)
	}
	h := r.Header
	if r.StatusCode != 429 || h.Get("Retry-After") == "" || h.Get("X-Ratelimit-Remaining") != "0" || h.Get("X-Ratelimit-Reset") == "" || h.Get("X-Request-Id") == "" {
		t.Errorf("%d with %v, want 429 with retry-after, x-ratelimit-* and x-request-id", r.StatusCode, h)
	}
}
