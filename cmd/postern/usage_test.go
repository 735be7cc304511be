package main

import (
	"errors"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

// writesSoon has a sidecar write uses about every half second.
const writesSoon = "--usage-every 500ms"

// show is a secret with its use, as show prints it.
func (s *shell) show(id string) authz.Form {
	s.t.Helper()
	f := s.form("secret show", id)
	if f.LastUsedAt == nil || f.Usage == nil {
		s.t.Fatalf("secret show = %+v, want its use", f)
	}
	return f
}

// until polls until ok.
func (s *shell) until(what string, ok func() bool) {
	s.t.Helper()
	for end := time.Now().Add(15 * time.Second); !ok(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%s: not in 15 s", what)
		}
	}
}

// minute is the minute that the store has of a secret's permission, or 0.
func (s *shell) minute(id, permission string) int {
	s.t.Helper()
	minute, err := s.eyes.HGet(s.t.Context(), "postern:usage:"+id, "p:"+permission).Int()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Errorf("read the minute: %v", err)
	}
	return minute
}

// Three sidecars write of one secret, one at first with a minute that is long
// past. One is killed, and comes back: the minute never goes back.
func TestUsageOfThreeSidecars(t *testing.T) {
	s := newShell(t)
	secret := s.create("--permission getOrder+shipping_price --permission trackOrder")
	fleet := []*program{s.start(writesSoon + " --name a"), s.start(writesSoon + " --name b"), s.start(writesSoon + " --name c")}
	stop, writing := make(chan struct{}), sync.WaitGroup{}
	for _, p := range fleet[:2] {
		writing.Go(func() {
			for {
				select {
				case <-stop:
					return
				case <-time.After(5 * time.Millisecond):
					p.answers(secret.Secret, "GET /api/3/orders/1", 200, "granted")
				}
			}
		})
	}
	fleet[2].answers(secret.Secret, "GET /api/3/orders/1", 200, "granted")
	s.until("a use is written", func() bool { return s.minute(secret.ID, "getOrder") > 0 })
	first, looks := s.minute(secret.ID, "getOrder"), 0
	last := first
	never := func(what string, d time.Duration) {
		for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Millisecond) {
			if at := s.minute(secret.ID, "getOrder"); at < last {
				t.Fatalf("%s: the minute went from %d back to %d", what, last, at)
			} else {
				last = at
			}
			looks++
		}
	}
	never("three write", time.Second)
	fleet[2].ends(syscall.SIGKILL)
	never("one is killed", time.Second)
	back := s.start(writesSoon + " --name c")
	back.answers(secret.Secret, "GET /api/3/orders/1/tracking", 200, "granted")
	never("it is back", time.Second)
	if looks < 100 {
		t.Errorf("looks = %d: too few to show anything", looks)
	}
	close(stop)
	writing.Wait()
	s.until("the other permission's use is written", func() bool { return s.minute(secret.ID, "trackOrder") > 0 })
	f := s.show(secret.ID)
	for _, p := range f.Permissions {
		if time.Since(p.LastUsedAt.Time) > 2*time.Minute {
			t.Errorf("%s was last used at %v, want just now", p.ID, p.LastUsedAt)
		}
	}
	if f.Usage.Sidecars != 3 || len(f.Usage.Missing) != 0 || f.Usage.Safe || f.Usage.Requests < 10 {
		t.Errorf("usage = %+v, want three sidecars, all in, not safe to delete, and some requests", *f.Usage)
	}
}

// A sidecar that is told to end writes what it has; one that is killed cannot.
func TestUsageAtTheEnd(t *testing.T) {
	s := newShell(t)
	for signal, want := range map[syscall.Signal]bool{syscall.SIGTERM: true, syscall.SIGKILL: false} {
		secret, p := s.create("--permission trackOrder"), s.start("--usage-every 1m")
		p.answers(secret.Secret, "GET /api/3/orders/1/tracking", 200, "granted")
		if at := s.minute(secret.ID, "trackOrder"); at != 0 {
			t.Errorf("before the end the minute is %d: this test shows nothing", at)
		}
		p.ends(signal)
		if got := s.minute(secret.ID, "trackOrder") > 0; got != want {
			t.Errorf("after %v the use is written: %v, want %v", signal, got, want)
		}
	}
}

// With Redis away uses are kept, and written when it is back; checks do not
// wait for that.
func TestUsageOverAnOutage(t *testing.T) {
	s := newShell(t, "--appendonly", "yes", "--appendfsync", "always")
	secret := s.create("--permission trackOrder")
	g := s.serve(writesSoon + " --redis-timeout 300ms")
	s.until("it is allowed", func() bool { a, _ := g.ask(secret.Secret, "GET /api/3/orders/1/tracking"); return a.status == 200 })
	s.until("it is written", func() bool { return s.minute(secret.ID, "trackOrder") > 0 })
	before := s.show(secret.ID).Usage.Requests
	s.redis.Pause()
	for end := time.Now().Add(2 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		begun := time.Now()
		g.answers(secret.Secret, "GET /api/3/orders/1/tracking", 200, "granted")
		if took := time.Since(begun); took > time.Second {
			t.Errorf("a check took %v while Redis is away", took)
		}
	}
	s.redis.Resume()
	s.until("what was kept is written", func() bool { return s.show(secret.ID).Usage.Requests > before+10 })
	s.until("it counts as written", func() bool {
		_, text := g.get("/metrics")
		return !strings.Contains(text, "\npostern_usage_written_total 1\n")
	})
	g.showsMetric("postern_usage_dropped_total 0")
}

// What people are told of a secret's use: list, show, and what was granted and
// is not used. A denial is no use.
func TestTextOfUsage(t *testing.T) {
	s := newShell(t)
	secret, legacy := s.create("--permission getOrder+shipping_price --permission trackOrder"), s.form("merchant create m1")
	s.shows(secret.ID, `last used +never used\n`, `  getOrder +never used\n`, `requests +about 0 in the last 24 hours\n`, `safe to delete +cannot be told: no sidecar has reported\n`)
	g := s.serve(writesSoon)
	g.answers(secret.Secret, "PUT /api/3/orders/1", 403, "not_granted")
	g.answers(legacy.Secret, "GET /elsewhere", 200, "unrestricted")
	g.answers(legacy.Secret, "PUT /api/3/orders/1", 200, "unrestricted")
	s.until("a use is written", func() bool { return s.minute(legacy.ID, "*") > 0 && s.minute(legacy.ID, "updateOrder") > 0 })
	const now = `20\d\d-\d\d-\d\dT\d\d:\d\d:00Z`
	s.shows(secret.ID, `last used +never used\n`, `safe to delete +from 20\d\d-\S+Z on, if it is not used until then\n`)
	s.shows(legacy.ID, `last used +`+now+`\n`, `  \* +`+now+`\n`, `  updateOrder +`+now+`\n`, `requests +about 2 in`)
	g.answers(secret.Secret, "GET /api/3/orders/1/tracking", 200, "granted")
	s.until("a use is written", func() bool { return s.minute(secret.ID, "trackOrder") > 0 })
	s.shows(secret.ID, `last used +`+now+`\n`, `  getOrder +never used\n`, `  trackOrder +`+now+`\n`)
	s.matches(s.ok("secret list --merchant m1"), `LAST USED`, secret.Redacted[:4]+`.*`+now)
	var list struct{ Secrets []authz.Form }
	if s.decode(s.ok("secret list --merchant m1 --json"), &list); len(list.Secrets) != 2 || list.Secrets[0].LastUsedAt.IsZero() || len(list.Secrets[1].Usage.Permissions) != 2 {
		t.Errorf("secret list = %+v, want both used", list)
	}
	s.matches(s.ok("secret show --json", secret.ID), `"last_used_at": "`+now+`"`, `"last_used_at": null`, `"requests_24h": 1,`, `"missing_reports": \[\]`)
}

// shows demands that show prints texts that match.
func (s *shell) shows(id string, patterns ...string) {
	s.t.Helper()
	s.matches(s.ok("secret show", id), patterns...)
}

// matches demands that a text matches each pattern.
func (s *shell) matches(text string, patterns ...string) {
	s.t.Helper()
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(text) {
			s.t.Errorf("no %q in:\n%s", p, text)
		}
	}
}

// Of each use there is a word for it.
func TestDescribeUse(t *testing.T) {
	const day = 24 * time.Hour
	tests := []struct {
		created, last time.Duration // ago; 0: never used
		want          string
	}{
		{time.Hour, 0, "never used"},
		{29 * day, 0, "never used"},
		{31 * day, 0, "never used (unused for 31 days)"},
		{399 * day, 0, "never used (unused for 399 days)"},
		{401 * day, 0, "not in the last 400 days"},
		{401 * day, 29 * day, "TIME"},
		{401 * day, 31 * day, "TIME (unused for 31 days)"},
	}
	for _, tt := range tests {
		f, last := authz.Form{CreatedAt: time.Now().Add(-tt.created)}, time.Time{}
		if tt.last > 0 {
			last = time.Now().Add(-tt.last).UTC()
		}
		want := strings.ReplaceAll(tt.want, "TIME", last.Format(time.RFC3339))
		if got := describeUse(f, last); got != want {
			t.Errorf("made %v ago, last used %v ago: %q, want %q", tt.created, tt.last, got, want)
		}
	}
}

func TestDescribeSafety(t *testing.T) {
	at := time.Date(2026, 11, 26, 10, 3, 0, 0, time.UTC)
	tests := map[string]authz.UsageForm{
		"cannot be told: no sidecar has reported":                             {SafeFrom: at},
		"cannot be told: the reports of 2 of 3 sidecars are not in: a, b":     {Sidecars: 3, Missing: []string{"a", "b"}},
		"from 2026-11-26T10:03:00Z on, if it is not used until then":          {Sidecars: 3, SafeFrom: at},
		"yes: not used for 24 hours, as far as 3 of 3 sidecars have reported": {Sidecars: 3, Safe: true},
	}
	for want, u := range tests {
		if got := describeSafety(u); got != want {
			t.Errorf("describeSafety(%+v) = %q, want %q", u, got, want)
		}
	}
}

func TestUsageEvery(t *testing.T) {
	s := newShell(t)
	for _, every := range []string{"0", "-1s", "61s", "1h"} {
		s.ended(s.run("serve --listen unix:$DIR/s --usage-every "+every), exitUsage, "--usage-every")
	}
}
