package store

import (
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

var usageBehaviours = []behaviour{
	{"a use is known to the minute", knowsUses},
	{"the minute of a use never goes back", keepsMinutes},
	{"requests of the last day are counted", countsRequests},
	{"usage ends by itself, and with its secret", endsUsage},
	{"what is damaged is no usage", readsNoDamagedUsage},
	{"uses of a store that is away", usesAway},
	{"a secret is safe to delete when all say so", tellsSafety},
}

// ago is a use of a permission some time ago.
func ago(id, permission string, d time.Duration) Use {
	return Use{Secret: id, Permission: permission, At: time.Now().Add(-d), Requests: 1}
}

// writes writes uses, all of them.
func (w *world) writes(uses ...Use) {
	w.t.Helper()
	if failed, err := w.WriteUses(w.t.Context(), uses); len(failed) > 0 || err != nil {
		w.t.Fatalf("WriteUses(%v) = %v, %v", uses, failed, err)
	}
}

func (w *world) usage(id string) authz.Usage {
	w.t.Helper()
	all, err := w.Usage(w.t.Context(), id)
	if err != nil {
		w.t.Fatal(err)
	}
	return all[id]
}

// id is that of secret number i.
func id(i int) string { return fmt.Sprintf("%032x", i) }

// near demands a whole minute, of a moment or a little later: writing takes
// its time.
func near(t *testing.T, what string, got, want time.Time) {
	t.Helper()
	if got.Before(want.Truncate(time.Minute)) || got.After(want.Add(5*time.Second)) || got != got.Truncate(time.Minute) {
		t.Errorf("%s was last used at %v, want the minute of %v", what, got, want)
	}
}

func knowsUses(t *testing.T, w *world) {
	var uses []Use
	for i := range 300 { // more than a pipeline reads
		uses = append(uses, ago(id(i), "get", time.Duration(i)*time.Minute))
	}
	uses = append(uses, ago(id(7), "put", time.Hour), ago(id(8), authz.AnyPath, 0), ago(id(9), "put", -time.Hour))
	begun := time.Now()
	w.writes(uses...)
	var ids []string
	for i := range 301 {
		ids = append(ids, id(i))
	}
	all, err := w.Usage(t.Context(), ids...)
	if err != nil || len(all) != 301 {
		t.Fatalf("Usage of 301 secrets = %d of them, %v", len(all), err)
	}
	for i := range 300 {
		near(t, "secret "+id(i), all[id(i)].Permissions["get"], begun.Add(-time.Duration(i)*time.Minute))
	}
	near(t, "another permission", all[id(7)].Permissions["put"], begun.Add(-time.Hour))
	near(t, "a path in no catalog", all[id(8)].Last(), begun)
	near(t, "what a clock ahead of Redis's uses", all[id(9)].Last(), begun)
	if unused := all[id(300)]; !unused.Last().IsZero() || len(unused.Permissions) != 0 || unused.Requests != 0 {
		t.Errorf("usage of a secret that was not used = %+v, want none", unused)
	}
}

// Sidecars write as it comes: late, twice, at once, and after one another's
// later uses.
func keepsMinutes(t *testing.T, w *world) {
	begun := time.Now()
	w.writes(ago(id(1), "get", 10*time.Minute))
	w.writes(ago(id(1), "get", 40*time.Minute))
	near(t, "a secret whose earlier use comes later", w.usage(id(1)).Last(), begun.Add(-10*time.Minute))
	var writers sync.WaitGroup
	done := make(chan struct{})
	for sidecar := range 3 {
		writers.Go(func() {
			for i := range 100 {
				w.writes(ago(id(1), "get", time.Duration((100-i)*(sidecar+1))*time.Second))
			}
		})
	}
	go func() { writers.Wait(); close(done) }()
	for last, n := w.usage(id(1)).Last(), 0; ; n++ {
		at := w.usage(id(1)).Last()
		if at.Before(last) {
			<-done
			t.Fatalf("the minute went from %v back to %v", last, at)
		}
		last = at
		select {
		case <-done:
			if n < 3 {
				t.Errorf("looks while three wrote = %d: too few to show anything", n)
			}
			near(t, "a secret that three wrote of", w.usage(id(1)).Last(), time.Now().Add(-time.Second))
			return
		default:
		}
	}
}

func countsRequests(t *testing.T, w *world) {
	for _, d := range []time.Duration{0, 0, time.Hour, 23 * time.Hour, 24 * time.Hour} {
		u := ago(id(1), "get", d)
		u.Requests = 1000
		w.writes(u)
	}
	if got := w.usage(id(1)).Requests; got != 5000 {
		t.Errorf("requests = %d, want 5000", got)
	}
	w.writes(ago(id(1), "put", 0), ago(id(1), "get", 25*time.Hour), ago(id(1), "get", 300*time.Hour))
	if got := w.usage(id(1)).Requests; got != 5001 {
		t.Errorf("requests, with some more than a day ago = %d, want 5001", got)
	}
	for i := range 100 {
		w.writes(ago(id(1), "get", time.Duration(100-i)*time.Hour))
	}
	if got, err := w.client.HLen(t.Context(), usageKey(id(1))).Result(); got != 2+hourSlots || err != nil {
		t.Errorf("fields of two permissions, whatever the hours = %d, %v, want %d", got, err, 2+hourSlots)
	}
	now := time.Now()
	for hours, want := range map[int64]int64{0: 7, 24: 7, 25: 0} {
		if got := parseHour(fmt.Sprint(now.Unix()/3600-hours, " 7"), now); got != want {
			t.Errorf("7 requests %d hours ago count as %d, want %d", hours, got, want)
		}
	}
}

func endsUsage(t *testing.T, w *world) {
	_, secret := w.made("m")
	w.writes(ago(secret.ID, "get", 0))
	ttl, err := w.client.TTL(t.Context(), usageKey(secret.ID)).Result()
	if err != nil || ttl <= authz.UsageKept || ttl > authz.UsageKept+48*time.Hour {
		t.Errorf("time to live = %v, %v, want a little more than %v", ttl, err, authz.UsageKept)
	}
	if _, err := w.Delete(t.Context(), secret.ID, AllReplicas); err != nil {
		t.Fatal(err)
	}
	if got := w.usage(secret.ID); len(got.Permissions) > 0 || got.Requests != 0 {
		t.Errorf("usage of a deleted secret = %+v, want none", got)
	}
	w.writes(ago(secret.ID, "get", 0)) // of a sidecar that had it still to write
	if got, err := w.Read(t.Context(), secret.ID); err != nil || got.DeletedAt.IsZero() {
		t.Errorf("Read of a deleted secret that was used = %+v, %v, want its tombstone", got, err)
	}
}

func readsNoDamagedUsage(t *testing.T, w *world) {
	key, ctx, hour := usageKey(id(1)), t.Context(), time.Now().Unix()/3600
	damaged := map[string]string{
		"p:": "5", "p:a b": "5", "p:\x1b[2J": "5", "p:" + strings.Repeat("x", 129): "5", "other": "5", "": "5", "p:neg": "-5", "p:zero": "0",
		"p:text": "x", "p:far": "4223371680", "p:huge": "9223372036854775807", "p:over": "92233720368547758070",
		"h:1": "x", "h:2": "5", "h:3": fmt.Sprint(hour, " -5"), "h:4": fmt.Sprint(hour, " ", int64(1)<<60), "h:5": "x 5", "h:6": fmt.Sprint(hour, " 3"),
	}
	w.client.HSet(ctx, key, damaged)
	if got := w.usage(id(1)); len(got.Permissions) != 0 || got.Requests != 3 {
		t.Errorf("usage of damaged fields = %+v, want 3 requests and nothing else", got)
	}
	for field := range maps.Keys(damaged) {
		if permission, ok := strings.CutPrefix(field, "p:"); ok {
			w.client.HSet(ctx, key, field, "text")
			w.writes(ago(id(1), permission, 0))
		}
	}
	if got := w.usage(id(1)); len(got.Permissions) != 6 {
		t.Errorf("usage over damaged fields = %+v, want six permissions", got)
	}
	w.client.Del(ctx, key)
	w.client.LPush(ctx, key, "item")
	if got := w.usage(id(1)); len(got.Permissions) != 0 {
		t.Errorf("usage of a list = %+v, want none", got)
	}
	w.writes(ago(id(1), "get", 0))
	near(t, "a secret whose usage was no hash", w.usage(id(1)).Last(), time.Now())
}

func usesAway(t *testing.T, w *world) {
	w.meddle(func(cmd redis.Cmder, _ func() error) error { return errCrash })
	defer w.meddle(nil)
	uses := []Use{ago(id(1), "get", 0), ago(id(2), "get", 0)}
	if failed, err := w.WriteUses(t.Context(), uses); len(failed) != 2 || !errors.Is(err, authz.StoreUnavailable) {
		t.Errorf("WriteUses of a store that is away = %v, %v, want both back, and %v", failed, err, authz.StoreUnavailable)
	}
	for at := 1; at <= 2; at++ { // the time; the usage
		w.meddle(crash(at, false))
		if _, err := w.Usage(t.Context(), id(1)); !errors.Is(err, authz.StoreUnavailable) {
			t.Errorf("Usage of a store that is away from command %d on = %v, want %v", at, err, authz.StoreUnavailable)
		}
	}
}

func tellsSafety(t *testing.T, w *world) {
	const day = 24 * time.Hour
	tests := []struct {
		name    string
		created time.Duration     // ago
		used    time.Duration     // likewise; 0: never
		fleet   map[string]Report // by name
		safe    bool
		missing string
	}{
		{"no sidecar", 9 * day, 2 * day, nil, false, ""},
		{"all in", 9 * day, 2 * day, map[string]Report{"a": {Unwritten: 1}, "b": {Unwritten: time.Minute}}, true, ""},
		{"never used", 9 * day, 0, map[string]Report{"a": {Unwritten: 1}}, true, ""},
		{"new, never used", time.Hour, 0, map[string]Report{"a": {Unwritten: 1}}, false, ""},
		{"used within a day", 9 * day, 23 * time.Hour, map[string]Report{"a": {Unwritten: 1}}, false, ""},
		{"used a day ago, as far as is written", 9 * day, day + time.Minute, map[string]Report{"a": {Unwritten: 2 * time.Minute}}, false, ""},
		{"one does not say", 9 * day, 2 * day, map[string]Report{"a": {Unwritten: 1}, "b": {}}, false, "b"},
		{"one is late", 9 * day, 2 * day, map[string]Report{"a": {Unwritten: 1}, "b": {Unwritten: 4 * time.Minute}}, false, "b"},
		{"one has lost a use since", 9 * day, 2 * day, map[string]Report{"a": {Unwritten: 1, Lost: time.Hour}}, false, ""},
		{"one lost a use before", 9 * day, 2 * day, map[string]Report{"a": {Unwritten: 1, Lost: 2 * day}}, true, ""},
	}
	for i, tt := range tests {
		w.client.Del(t.Context(), fleetKey)
		for name, r := range tt.fleet {
			r.Name, r.Bound = name, time.Hour
			if _, err := w.Report(t.Context(), r, false); err != nil {
				t.Fatal(err)
			}
		}
		secret := authz.Secret{ID: id(i), CreatedAt: time.Now().Add(-tt.created), Grants: []authz.Grant{{Permission: "get"}, {Permission: "put"}}}
		base := secret.CreatedAt
		if tt.used > 0 {
			w.writes(ago(id(i), "get", tt.used))
			base = time.Now().Add(-tt.used)
		}
		forms, err := w.Forms(t.Context(), &secret)
		if err != nil {
			t.Fatal(err)
		}
		u := forms[0].Usage
		if u.Safe != tt.safe || u.Sidecars != len(tt.fleet) || strings.Join(u.Missing, " ") != tt.missing {
			t.Errorf("%s: %+v, want safe %v, missing %q", tt.name, *u, tt.safe, tt.missing)
		}
		if tt.name != "one has lost a use since" && (u.SafeFrom.Before(base.Add(day-time.Second)) || u.SafeFrom.After(base.Add(day+2*time.Minute))) {
			t.Errorf("%s: safe from %v, want a day after %v", tt.name, u.SafeFrom, base)
		}
		if used, unused := forms[0].Permissions[0].LastUsedAt, forms[0].Permissions[1].LastUsedAt; used.IsZero() != (tt.used == 0) || !unused.IsZero() || forms[0].LastUsedAt.Time != used.Time {
			t.Errorf("%s: last used %v and %v, in all %v", tt.name, used, unused, forms[0].LastUsedAt)
		}
	}
}

// FuzzParseUsage shows that whatever is stored can be read and shown.
func FuzzParseUsage(f *testing.F) {
	f.Add("p:get", "29000000")
	f.Add("p:*", "4223371679")
	f.Add("h:3", "490000 17")
	f.Fuzz(func(t *testing.T, field, value string) {
		now := time.Now()
		u := parseUsage(map[string]string{field: value}, now)
		for id, at := range u.Permissions {
			if !authz.IsPermission(id) || at.Year() < 1970 || at.Year() > 9999 {
				t.Errorf("%s = %s is a use of %q at %v", field, value, id, at)
			}
			if text := strconv.FormatInt(at.Unix()/60, 10); text != strings.TrimLeft(strings.TrimPrefix(value, "+"), "0") {
				t.Errorf("%s = %s is minute %s", field, value, text)
			}
		}
		if u.Requests < 0 || u.Requests > 1<<53 {
			t.Errorf("%s = %s is %d requests", field, value, u.Requests)
		}
	})
}
