package envoy_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache"
	"github.com/postern/postern/envoy"
)

// With the clock set back over a secret's expiry the gate cannot know: 503, and
// neither an allow nor a 401. What never expires, or has expired, is as before.
func TestClockSetBack(t *testing.T) {
	w := newWorld(t)
	secrets := cache.New(w.store, cache.Options{Timeout: 5 * time.Second})
	for !secrets.Trusted() { // a look takes half a second at most: on a busy machine it may need another
		secrets.Look(t.Context())
	}
	gate := envoy.NewGate(envoy.Options{Secrets: secrets, Catalog: func() *authz.Catalog { return w.catalog }, Log: slog.New(slog.DiscardHandler)})
	for _, tt := range []struct {
		name          string
		before, after answer
	}{
		{"lasting", answer{status: "200", reason: "granted"}, answer{status: "503", reason: "internal"}},
		{"office", answer{status: "200", reason: "granted"}, answer{status: "200", reason: "granted"}},
		{"expired", answer{status: "401", reason: "expired"}, answer{status: "401", reason: "expired"}},
	} {
		check := testCase{method: "GET", path: "/api/3/merchant", authorization: "Bearer " + w.tokens[tt.name]}.checkRequest(false)
		for _, step := range []struct {
			back time.Duration
			want answer
		}{{0, tt.before}, {2 * time.Hour, tt.after}, {-2 * time.Hour, tt.before}} {
			gate.SetClockBack(step.back)
			response, err := gate.Check(context.Background(), check)
			if got := answerOf(response); err != nil || got != step.want {
				t.Errorf("%s, the clock set back by %v: %+v, %v, want %+v", tt.name, step.back, got, err, step.want)
			}
		}
	}
}
