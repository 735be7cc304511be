package deploy

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// scenes are the faults, each in a world of its own. Every alert is in one.
func scenes(t *testing.T) []*scene {
	return []*scene{
		storeDown(t), storeDownStrict(t), storeEmptied(t), recordLost(t), recordCorrupt(t), unsafeStore(t), otherKeys(t),
		badCatalog(t), twoCatalogs(t), gateDead(t), gateHangs(t), filterOpen(t), withheld(t),
		usageDropped(t), slowStore(t), fewErrors(t), healthy(t),
	}
}

// burning are the three windows of a budget.
func burning(budget string) []string { return []string{budget + "/1h", budget + "/6h", budget + "/3d"} }

func storeDown(t *testing.T) *scene {
	s := newScene(t, "store down", "--max-stale", "25s")
	s.unasked = true // few requests: an end of --max-stale that comes early burns no budget
	s.check(s.token, track)
	s.breaks = func() {
		s.redis.Stop()
		s.keepAsking(s.token, track)
	}
	s.mends = func() {
		s.leave()
		s.redis.Start()
	}
	s.firing = []string{"PosternStoreDown", "PosternNotFresh", "PosternStale", "PosternOldAnswers"}
	s.shows = map[string]string{"PosternStoreDown": "refused", "PosternNotFresh": `"fresh":false`, "PosternStale": "postern_log_lag_seconds ", "PosternOldAnswers": "postern_oldest_answer_seconds "}
	return s
}

func storeDownStrict(t *testing.T) *scene {
	s := newScene(t, "store down, strict", "--max-stale", "0")
	s.breaks, s.mends = s.redis.Stop, s.redis.Start
	s.firing = append(burning("PosternErrorBudget"), "PosternStoreDown", "PosternNotFresh", "PosternStale")
	s.after = burning("PosternErrorBudget")[1:] // these look back for hours; the first has ended
	s.shows = map[string]string{"PosternErrorBudget": `reason="store_unavailable"`}
	return s
}

// storeEmptied is no outage: Redis answers, and has forgotten all.
func storeEmptied(t *testing.T) *scene {
	s := newScene(t, "store emptied")
	appended, backup := filepath.Join(s.redis.Dir, "appendonlydir"), filepath.Join(s.dir, "backup")
	s.unasked = true
	s.check(s.token, track)
	s.breaks = func() {
		s.copy(appended, backup)
		s.redis.Do("FLUSHALL")
		s.keepAsking(s.token, track)
	}
	s.mends = func() { // as the runbook says
		s.redis.Stop()
		os.RemoveAll(appended)
		s.copy(backup, appended)
		s.redis.Start()
	}
	s.firing = []string{"PosternStoreReplaced", "PosternStoreDown", "PosternNotFresh", "PosternRecordMissing"}
	s.shows = map[string]string{"PosternStoreReplaced": "the store was emptied or replaced"}
	return s
}

func recordLost(t *testing.T) *scene {
	s := newScene(t, "record lost")
	lost, id := s.mintWithID("m-1", "trackOrder")
	s.breaks = func() {
		s.redis.Do("DEL", "postern:secret:"+id)
		s.keepAsking(lost, track)
	}
	s.mends = s.leave
	s.firing = []string{"PosternRecordMissing"}
	s.shows = map[string]string{"PosternRecordMissing": id}
	return s
}

func recordCorrupt(t *testing.T) *scene {
	s := newScene(t, "record corrupt")
	corrupt, id := s.mintWithID("m-1", "trackOrder")
	s.breaks = func() {
		s.redis.Do("SETRANGE", "postern:secret:"+id, 8, "x")
		s.keepAsking(corrupt, track)
	}
	s.mends = func() { s.postern("secret", "delete", id) } // its client may go on
	s.firing = []string{"PosternRecordInvalid"}
	s.shows = map[string]string{"PosternRecordInvalid": id}
	return s
}

func unsafeStore(t *testing.T) *scene {
	s := newScene(t, "unsafe settings")
	s.breaks = func() { s.redis.Do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru") }
	s.mends = func() { s.follow("PosternStoreUnsafe", "Fix", "", nil) }
	s.firing = []string{"PosternStoreUnsafe"}
	s.shows = map[string]string{"PosternStoreUnsafe": "allkeys-lru"}
	return s
}

// otherKeys restarts the gate with the key file of another store.
func otherKeys(t *testing.T) *scene {
	s := newScene(t, "other keys")
	s.unasked = true
	keys := filepath.Join(s.dir, "others.json")
	s.postern("key", "new", keys)
	s.breaks = func() { s.start("--key-file", keys) }
	s.mends = func() { s.serve() }
	s.firing = []string{"PosternNotReady", "PosternStoreDown"}
	s.shows = map[string]string{"PosternNotReady": `"ready":false`}
	return s
}

func badCatalog(t *testing.T) *scene {
	s := newScene(t, "bad catalog")
	file := s.ownCatalog()
	good := readText(t, file)
	s.serve()
	s.breaks = func() { s.writeFile(file, good+"  nonsense\n") }
	s.mends = func() { s.writeFile(file, good) }
	s.firing = []string{"PosternReloadRefused"}
	s.shows = map[string]string{"PosternReloadRefused": "catalog.yaml"}
	return s
}

// twoCatalogs starts a second gate, with a newer catalog.
func twoCatalogs(t *testing.T) *scene {
	s := newScene(t, "two catalogs")
	other := &stack{t: t, redis: s.redis, program: s.program, env: s.env, socket: s.socket + "2", ops: freeAddress(t), dir: s.dir}
	s.second = other.ops
	file := other.ownCatalog()
	other.serve() // with the same catalog
	good := readText(t, file)
	s.breaks = func() {
		s.writeFile(file, strings.Replace(good, "operationId: listWebhooks", "operationId: listHooks", 1))
	}
	s.mends = func() { s.writeFile(file, good) }
	s.firing = []string{"PosternTwoCatalogs"}
	s.shows = map[string]string{"PosternTwoCatalogs": `instance="` + other.ops + `"`}
	return s
}

// gateDead ends the gate behind an Envoy that was set to let all through then.
func gateDead(t *testing.T) *scene {
	s := newScene(t, "gate dead, Envoy fails open")
	s.proxy = s.envoy(func(bootstrap string) string {
		return strings.Replace(bootstrap, "failure_mode_allow: false", "failure_mode_allow: true", 1)
	})
	s.breaks, s.mends = s.stop, func() { s.serve() }
	s.firing = []string{"PosternDown", "PosternAbsent", "PosternEnvoyErrors", "PosternFailureModeAllowed"}
	s.shows = map[string]string{"PosternFailureModeAllowed": `"failure_mode_allow": true`, "PosternDown": "refused", "PosternAbsent": fmt.Sprintf(`up{instance=%q, job=%q} => 0`, s.ops, s.name)}
	return s
}

// gateHangs stops the gate, behind an Envoy as it ships.
func gateHangs(t *testing.T) *scene {
	s := newScene(t, "gate hangs")
	s.proxy = s.envoy(nil)
	s.breaks = func() { s.process.Signal(syscall.SIGSTOP) }
	s.mends = func() { s.process.Signal(syscall.SIGCONT) }
	t.Cleanup(s.mends)
	s.firing = []string{"PosternDown", "PosternAbsent", "PosternEnvoyErrors"}
	s.shows = map[string]string{"PosternEnvoyErrors": `envoy_http_ext_authz_error{envoy_ext_authz_prefix="postern"`}
	return s
}

// filterOpen has an Envoy that has lost the filter, and was set to do without.
// That it shows nothing is the merit of the lock behind.
func filterOpen(t *testing.T) *scene {
	s := newScene(t, "filter gone, Envoy fails open")
	s.unasked = true
	s.proxy = s.envoy(func(bootstrap string) string {
		last := strings.LastIndex(bootstrap, "failure_mode_allow: false") // the first is ext_authz's
		bootstrap = bootstrap[:last] + strings.Replace(bootstrap[last:], "false", "true", 1)
		return strings.Replace(bootstrap, "load_assignment: *gate", "load_assignment: {cluster_name: postern_filter}", 1)
	})
	s.breaks = func() { s.keepAsking(s.token, label) }
	s.mends = s.leave
	s.firing = []string{"PosternFailureModeAllowed"}
	return s
}

func withheld(t *testing.T) *scene {
	s := newScene(t, "an upstream's answers are of another form")
	s.proxy = s.envoy(nil)
	called := func(csv bool) func() {
		return func() {
			s.upstream.mu.Lock()
			defer s.upstream.mu.Unlock()
			s.upstream.csv = csv
		}
	}
	s.breaks, s.mends = called(true), called(false)
	s.firing = []string{"PosternAnswersWithheld"}
	s.shows = map[string]string{"PosternAnswersWithheld": `result="media_type"`}
	return s
}

func usageDropped(t *testing.T) *scene {
	s := newScene(t, "no room for uses")
	file := s.ownCatalog()
	const operations = 1100
	s.writeFile(file, wideCatalog(operations))
	s.serve("--usage-every", "1m")
	legacy := s.legacy("m-2")
	s.unasked = true
	s.breaks = func() {
		for i := range operations {
			s.check(legacy, fmt.Sprintf("/things%d", i))
		}
		s.keepAsking(legacy, fmt.Sprintf("/things%d", operations-1))
	}
	s.mends = s.leave
	s.firing = []string{"PosternUsageDropped"}
	s.shows = map[string]string{"PosternUsageDropped": "postern_usage_dropped_total"}
	return s
}

// slowStore has a Redis that keeps every look-up waiting for some 30 ms. Tokens
// that were never seen have to be looked up.
func slowStore(t *testing.T) *scene {
	s := newScene(t, "slow store", "--redis-timeout", "1s")
	ctx, cancel := context.WithCancel(t.Context())
	s.breaks = func() {
		go func() {
			for i := 0; ctx.Err() == nil; i++ {
				s.redis.Do("CLIENT", "PAUSE", "60", "ALL")
				s.check(fmt.Sprintf("%s-%d", foreign, i), track)
				time.Sleep(20 * time.Millisecond)
			}
		}()
	}
	s.mends = cancel
	t.Cleanup(cancel)
	s.firing = burning("PosternLatencyBudget")
	s.after = s.firing[1:]
	s.shows = map[string]string{"PosternLatencyBudget": `postern_check_duration_seconds_bucket{le="0.01"}`}
	return s
}

// fewErrors has too few for a page by the hour: a budget that burns slowly.
func fewErrors(t *testing.T) *scene {
	s := newScene(t, "few errors")
	s.unasked = true
	office := s.mintFrom("192.0.2.0/24")
	s.breaks = func() {
		for range 14 { // without an address, there is no knowing
			s.check(office, track)
		}
		s.checks(14_000, s.token, track)
	}
	s.firing = []string{"PosternErrorBudget/6h", "PosternErrorBudget/3d"}
	s.mends = func() { s.checks(16_000, s.token, track) }
	s.after = s.firing[1:]
	return s
}

// healthy is the control: a day's work, and nothing fires.
func healthy(t *testing.T) *scene {
	s := newScene(t, "healthy")
	file := s.ownCatalog()
	s.serve()
	s.proxy = s.envoy(nil)
	s.breaks = func() {
		get(t, s.proxy.Listen, "/api/3/merchant", s.token) // 403
		get(t, s.proxy.Listen, track, "")                  // 401
		get(t, s.proxy.Listen, track, foreign)             // 401
		deleted, id := s.mintWithID("m-1", "trackOrder")
		get(t, s.proxy.Listen, track, deleted)
		s.postern("secret", "delete", id)
		get(t, s.proxy.Listen, track, deleted)
		s.writeFile(file, strings.Replace(readText(t, file), "operationId: listWebhooks", "operationId: listHooks", 1)) // a good new catalog
	}
	s.mends = func() { s.serve() }
	s.shows = map[string]string{"PosternClockSet": "postern_clock_set_seconds"} // see trial.clock
	return s
}

// legacy is the token of a new merchant's legacy secret.
func (s *stack) legacy(merchant string) string {
	s.t.Helper()
	token, _ := s.minted("merchant", "create", merchant)
	return token
}

// mintFrom makes a secret that only these addresses may use.
func (s *stack) mintFrom(cidr string) string {
	s.t.Helper()
	token, _ := s.minted("secret", "create", "--merchant", "m-1", "--description", "for a test", "--permission", "trackOrder", "--allow-ip", cidr)
	return token
}
