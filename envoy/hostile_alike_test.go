package envoy_test

import (
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/proto"
)

// check is a check of a path with the token of a name, as Envoy sends it.
func (w *world) check(path, token string) *authv3.CheckRequest {
	return testCase{method: "GET", path: path, host: "api.example.com", authorization: "Bearer " + token}.checkRequest(false)
}

// TestAlikeBodies demands one and the same answer for every secret that is not
// good, whatever was asked for.
func TestAlikeBodies(t *testing.T) {
	w := newWorld(t)
	gate := w.newGate(t)
	var first *authv3.CheckResponse
	for name, token := range map[string]string{
		"deleted": w.tokens["deleted"], "expired": w.tokens["expired"], "mistyped": w.tokens["mistyped"],
		"invented": "pt_AAAAAAAAAAAAAAAAAAAAAAAAAAAA", "of another form": "some-partner-token-of-theirs", "malformed": "x",
	} {
		for _, path := range []string{"/api/3/merchant", "/api/3/orders/PP1/label", "/nowhere", "/api/3/../x", ""} {
			response, err := gate.Check(t.Context(), w.check(path, token))
			must(t, err)
			response.DynamicMetadata = nil // which no client sees
			if first == nil {
				first = response
			}
			if !proto.Equal(response, first) || answerOf(response).status != "401" {
				t.Errorf("a secret that is %s gets %v on %q, want %v", name, response, path, first)
			}
		}
	}
}

// alike is how many checks of each kind are timed: POSTERN_ALIKE, or 10,000.
func alike(t *testing.T) int {
	text := os.Getenv("POSTERN_ALIKE")
	if text == "" {
		return 10_000
	}
	n, err := strconv.Atoi(text)
	must(t, err)
	return n
}

// TestAlikeTimes times deleted and expired secrets in turn. Welch's t tells
// whether two times differ: beyond 4.5 they do.
func TestAlikeTimes(t *testing.T) {
	w := newWorld(t)
	gate := w.newGate(t)
	n := alike(t)
	kinds := [2]*authv3.CheckRequest{w.check("/api/3/merchant", w.tokens["deleted"]), w.check("/api/3/merchant", w.tokens["expired"])}
	measure := func(planted time.Duration) float64 {
		var times [2][]float64
		for i := range 2 * (n + n/10) {
			kind := (i ^ i>>1) & 1 // neither is always the second of two
			begun := time.Now()
			_, err := gate.Check(context.Background(), kinds[kind])
			for checked := time.Now(); kind == 1 && planted > 0 && time.Since(checked) < planted; {
			}
			took := time.Since(begun)
			if err != nil {
				t.Fatal(err)
			}
			if i > n/5 { // warm
				times[kind] = append(times[kind], float64(took))
			}
		}
		return welch(trimmed(times[0]), trimmed(times[1]))
	}
	// What else the machine does may fall on one kind: that does not come again.
	var got []string
	for range 3 {
		score := measure(0)
		got = append(got, fmt.Sprintf("%.2f", score))
		if math.Abs(score) < 4.5 {
			break
		}
		if len(got) == 3 {
			t.Errorf("deleted and expired secrets differ in time: t = %v, want one within 4.5", got)
		}
	}
	planted := measure(5 * time.Microsecond)
	if math.Abs(planted) < 4.5 {
		t.Errorf("control: a planted difference has t = %.2f, want more than 4.5", planted)
	}
	t.Logf("%d checks of each kind: t = %v; with a planted difference %.0f", n, got, planted)
}

// trimmed is what is left of times without the longest tenth: what else the
// machine did.
func trimmed(times []float64) []float64 {
	slices.Sort(times)
	return times[:len(times)*9/10]
}

// welch is Welch's t of two samples.
func welch(a, b []float64) float64 {
	ma, va := moments(a)
	mb, vb := moments(b)
	return (ma - mb) / math.Sqrt(va/float64(len(a))+vb/float64(len(b)))
}

func moments(x []float64) (mean, variance float64) {
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x)-1)
	}
	return mean, variance
}
