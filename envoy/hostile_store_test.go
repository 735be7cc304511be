package envoy_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/envoy"
)

// An attacker who may write whatever he likes to Redis, and has no key file.

// ruled is what a gate answers for a token on a request, and what for.
type ruled struct{ token, path string }

// rulings asks a gate about every token.
func (w *world) rulings(t *testing.T, gate *envoy.Gate) map[ruled]string {
	t.Helper()
	all := map[ruled]string{}
	for name, token := range w.tokens {
		for _, path := range []string{"/api/3/merchant", "/api/3/orders/PP1/label", "/internal/report"} {
			r := w.check(path, token)
			r.Attributes.ContextExtensions = map[string]string{"postern-filter": "v1"}
			response, err := gate.Check(t.Context(), r)
			must(t, err)
			a := answerOf(response)
			all[ruled{name, path}] = a.status + " " + a.reason
			if a.status == "200" {
				fields := response.GetDynamicMetadata().GetFields()
				all[ruled{name, path}] = fmt.Sprint("200 ", headers(response.GetOkResponse().GetHeaders()), fields["filter_paths"])
			}
		}
	}
	return all
}

// redisKeys are all keys of the store, and one that is not there: of a token
// that was minted and lost.
func (w *world) redisKeys(t *testing.T) []string {
	t.Helper()
	var names []string
	for _, k := range w.redis.Do("KEYS", "*").([]any) {
		names = append(names, k.(string))
	}
	slices.Sort(names)
	return append(names, "postern:secret:"+w.idOf(t, "lost"))
}

// attack is one way to change a key of a store. It reports whether it did.
type attack struct {
	name string
	do   func(w *world, key string) bool
}

func edit(change func(string) string) func(*world, string) bool {
	return func(w *world, key string) bool {
		if w.redis.Do("TYPE", key) != "string" {
			return false
		}
		value := w.redis.Do("GET", key).(string)
		next := change(value)
		w.redis.Do("SET", key, next)
		return next != value
	}
}

// attacks are all of them; sources are keys that are copied over others.
func attacks(sources map[string]string) []attack {
	all := []attack{
		{"deleted", func(w *world, key string) bool { return w.redis.Do("DEL", key) != int64(0) }},
		{"made a list", func(w *world, key string) bool {
			w.redis.Do("DEL", key)
			w.redis.Do("LPUSH", key, "x")
			return true
		}},
		{"made a text", func(w *world, key string) bool { w.redis.Do("SET", key, "{}\n"); return true }},
		{"made empty", func(w *world, key string) bool { w.redis.Do("SET", key, ""); return true }},
		{"truncated", edit(func(s string) string { return s[:len(s)/2] })},
		{"without its MAC", edit(func(s string) string { text, _, _ := strings.Cut(s, "\n"); return text })},
		{"with an empty MAC", edit(func(s string) string { text, _, _ := strings.Cut(s, "\n"); return text + "\n" })},
		{"doubled", edit(func(s string) string { return s + s })},
		{"given to another", edit(func(s string) string { return strings.Replace(s, `"m-1"`, `"m-2"`, 1) })},
		{"unrestricted", edit(func(s string) string { return strings.Replace(s, `"grants"`, `"unrestricted":true,"grants"`, 1) })},
		{"widened", edit(func(s string) string { return strings.ReplaceAll(s, "/api/3/merchant", "/api/3/orders/{n}/label") })},
		{"never expiring", edit(func(s string) string { return strings.Replace(s, `"expires_at"`, `"x_expires_at"`, 1) })},
		{"undeleted", edit(func(s string) string { return strings.Replace(s, `"deleted_at"`, `"created_at"`, 1) })},
	}
	for _, i := range []int{0, 5} { // every bit of every byte: cache/store/record_test.go
		all = append(all, attack{fmt.Sprintf("with bit %d of its middle flipped", i), edit(func(s string) string {
			b := []byte(s)
			if len(b) > 0 {
				b[len(b)/2] ^= 1 << i
			}
			return string(b)
		})})
	}
	for name, from := range sources {
		all = append(all, attack{"overwritten with " + name, func(w *world, key string) bool {
			return key != from && w.redis.Do("COPY", from, key, "REPLACE") == int64(1)
		}})
	}
	return all
}

// TestHostileStore changes every key of a store in every way, and demands that
// a gate that reads it allows nothing more, and to nobody else, and calls no
// good secret bad.
func TestHostileStore(t *testing.T) {
	w := newWorld(t)
	other := w.draft(t, "getMerchant")
	other.Merchant = "m-2"
	w.add(t, "other", other)
	before := w.rulings(t, w.newGate(t))
	sources := map[string]string{"the epoch": "postern:epoch"}
	for _, name := range []string{"legacy", "other", "deleted", "expired", "imported", "both"} {
		sources["the record of "+name] = "postern:secret:" + w.idOf(t, name)
	}
	importedKey := sources["the record of imported"]
	done := 0
	for _, key := range w.redisKeys(t) {
		for _, a := range attacks(sources) {
			was := w.redis.Do("DUMP", key)
			if a.do(w, key) {
				done++
				after := w.rulings(t, w.gateThat(t, false))
				for r, ruling := range after {
					good, allows := strings.HasPrefix(before[r], "200"), strings.HasPrefix(ruling, "200")
					if allows && ruling != before[r] {
						t.Errorf("%s %s: %s on %s is %s, and was %s", key, a.name, r.token, r.path, ruling, before[r])
					}
					// SECURITY.md: a record of a token minted elsewhere can be deleted.
					killed := r.token != "imported" || key != importedKey || a.name != "deleted"
					if good && !allows && !strings.HasPrefix(ruling, "503") && killed {
						t.Errorf("%s %s: %s on %s is %s, and is good", key, a.name, r.token, r.path, ruling)
					}
				}
			}
			w.redis.Do("DEL", key)
			if was != nil {
				w.redis.Do("RESTORE", key, 0, was)
			}
		}
	}
	if after := w.rulings(t, w.newGate(t)); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("control: after all attacks, undone, a gate answers otherwise than before")
	}
	if done < 300 {
		t.Errorf("%d attacks, want 300", done)
	}
	t.Logf("%d attacks, %d answers each", done, len(before))
}

// gateThat is a gate that reads whatever it is asked of the store, where it
// can; one that follows keeps what the log lets it.
func (w *world) gateThat(t *testing.T, follows bool) *envoy.Gate {
	t.Helper()
	secrets := cache.New(w.store, cache.Options{Timeout: 5 * time.Second})
	secrets.Look(t.Context())
	if follows {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); secrets.Follow(ctx) }()
		t.Cleanup(func() { cancel(); <-done })
	}
	return envoy.NewGate(envoy.Options{
		Secrets: secrets, Catalog: func() *authz.Catalog { return w.catalog }, Log: slog.New(slog.DiscardHandler),
	})
}

// TestForgedLog forges entries of the log, and replays the record of a secret
// that a sidecar has seen deleted.
func TestForgedLog(t *testing.T) {
	w := newWorld(t)
	w.add(t, "revived", w.draft(t, "getMerchant"))
	key := "postern:secret:" + w.idOf(t, "revived")
	old := w.redis.Do("DUMP", key)
	_, err := w.store.Delete(t.Context(), w.idOf(t, "revived"), store.AllReplicas)
	must(t, err)
	gate := w.gateThat(t, true)
	before := w.rulings(t, gate)
	if got := before[ruled{"revived", "/api/3/merchant"}]; got != "401 deleted" {
		t.Fatalf("the deleted secret is %s, want 401 deleted", got)
	}
	w.redis.Do("RESTORE", key, 0, old, "REPLACE")
	sequence := 0
	for _, name := range slices.Sorted(maps.Keys(w.tokens)) {
		if name != "mistyped" {
			for _, number := range []any{sequence + 2, sequence + 3, -1, 7, "x"} {
				w.redis.Do("XADD", "{postern}:log", "*", "sequence", number, "secret", w.idOf(t, name))
			}
			sequence += 2
		}
	}
	time.Sleep(time.Second) // the gate reads the log every 150 ms
	reads := w.reads()
	after := w.rulings(t, gate)
	if w.reads() == reads {
		t.Error("control: after forged entries of the log nothing is read again: they do not bite")
	}
	for r, ruling := range after {
		if ruling != before[r] {
			t.Errorf("after forged entries of the log: %s on %s is %s, and was %s", r.token, r.path, ruling, before[r])
		}
	}
	if got := w.rulings(t, w.gateThat(t, false))[ruled{"revived", "/api/3/merchant"}]; !strings.HasPrefix(got, "200") {
		t.Errorf("control: a sidecar that has not seen the tombstone says %s, want 200 (SECURITY.md): the replay does not bite", got)
	}
}

// reads is how many GETs Redis has carried out.
func (w *world) reads() (n int) {
	_, rest, _ := strings.Cut(w.redis.Do("INFO", "commandstats").(string), "cmdstat_get:calls=")
	fmt.Sscan(strings.ReplaceAll(rest, ",", " "), &n)
	return n
}
