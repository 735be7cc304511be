//go:build compose

package deploy

import (
	"encoding/json"
	"testing"
)

// testRateLimits adds rate-limits/compose.yaml to the project that runs.
func testRateLimits(t *testing.T, p *project, tracker string) {
	other := p.mintFor("m-2", "trackOrder")
	for range 2 * burst { // the control: without it, nobody is limited
		if a := p.settled("GET", tracking, tracker); a.status != 200 {
			t.Fatalf("without rate limits = %d %s, want 200", a.status, a.body)
		}
	}
	t.Setenv("COMPOSE_FILE", "../docker-compose.yml:rate-limits/compose.yaml")
	p.do("up", "-d")
	p.awaitHealthy()
	refused := answer{}
	for range 3 * burst {
		if a := p.settled("GET", tracking, tracker); a.status != 200 {
			refused = a
			break
		}
	}
	var form struct{ Error string }
	if err := json.Unmarshal([]byte(refused.body), &form); err != nil || refused.status != 429 || form.Error != "rate_limited" {
		t.Errorf("a merchant that asks too much gets %d %s (%v), want 429 rate_limited", refused.status, refused.body, err)
	}
	if a := p.settled("GET", tracking, other); a.status != 200 {
		t.Errorf("another merchant gets %d %s, want 200", a.status, a.body)
	}
}
