package main

import (
	"strings"
	"testing"
	"time"
)

// With Redis out of reach serve starts, is not ready, and answers 503, until
// Redis is there.
func TestRedisDownAtStart(t *testing.T) {
	s := newShell(t, "--appendonly", "yes", "--appendfsync", "always")
	granted := s.create("--permission getOrderLabel+shipping_price")
	s.redis.Stop()
	g := s.launch("")
	for _, token := range []string{granted.Secret, "a.foreign.token.of.good.form", "no-token"} {
		g.answers(token, "GET /api/3/orders/1/label", 503, "store_unavailable")
	}
	if r := g.readyz(); r.status != 503 || r.Ready || !strings.Contains(strings.Join(r.Problems, " "), "connection refused") {
		t.Errorf("readyz without Redis = %+v, want 503 and why", r)
	}
	if got := g.servingState(); got != "NOT_SERVING" {
		t.Errorf("gRPC health without Redis = %s, want NOT_SERVING", got)
	}
	g.showsMetric("postern_ready 0")
	g.showsMetric("postern_store_up 0")
	s.ended(s.run("health", g.ops), exitRefused)
	s.redis.Start()
	begun := time.Now()
	g.await("be ready", func() bool { return g.servingState() == "SERVING" })
	if took := time.Since(begun); took > 3*time.Second { // go-redis dials once a second, the gate looks four times
		t.Errorf("the gate was ready %v after Redis, want some 1.25 s at most", took)
	}
	g.answers(granted.Secret, "GET /api/3/orders/1/label", 200, "granted")
}

// A gate that was ready stays so when Redis dies: secrets it has work on, and
// others get 503.
func TestRedisDiesLater(t *testing.T) {
	s := newShell(t, "--appendonly", "yes", "--appendfsync", "always")
	warm, cold := s.create("--permission getOrderLabel+shipping_price"), s.create("--permission getOrder")
	g := s.serve("")
	g.answers(warm.Secret, "GET /api/3/orders/1/label", 200, "granted")
	s.redis.Stop()
	g.answers(warm.Secret, "GET /api/3/orders/1/label", 200, "granted")
	g.answers(warm.Secret, "GET /api/3/orders/1", 403, "not_granted")
	g.answers(cold.Secret, "GET /api/3/orders/1", 503, "store_unavailable")
	g.answers("a.foreign.token.of.good.form", "GET /", 503, "store_unavailable")
	g.answers("no-token", "GET /", 401, "malformed")
	g.await("say that the store is in trouble", func() bool { return len(g.readyz().Problems) > 0 })
	if r := g.readyz(); r.status != 200 || !r.Ready {
		t.Errorf("readyz without Redis = %+v, want 200 and ready", r)
	}
	if got := g.servingState(); got != "SERVING" {
		t.Errorf("gRPC health without Redis = %s, want SERVING", got)
	}
	g.showsMetric("postern_store_up 0")
	g.showsMetric("postern_ready 1")
	s.redis.Start()
	g.await("find the store again", func() bool {
		a, err := g.ask(cold.Secret, "GET /api/3/nothing")
		return err == nil && a.reason == "not_catalogued"
	})
	if log := g.log.String(); !strings.Contains(log, "store in trouble") {
		t.Errorf("the log does not tell of the outage:\n%s", log)
	}
}

// A store whose keys are others is not this gate's: 503 to all, until the key
// file is the right one.
func TestWrongKeyFileAtStart(t *testing.T) {
	s := newShell(t)
	granted := s.create("--permission getOrder")
	s.ok("key new $DIR/serving.json")
	right := s.read(s.keys)
	g := s.launch("--key-file $DIR/serving.json")
	for _, token := range []string{granted.Secret, "a.foreign.token.of.good.form"} {
		g.answers(token, "GET /api/3/orders/1", 503, "store_unavailable")
	}
	r := g.readyz()
	if r.status != 503 || r.Ready || !strings.Contains(strings.Join(r.Problems, " "), "the key file has no key of this store") {
		t.Errorf("readyz with a wrong key file = %+v, want 503 and why", r)
	}
	if got := g.servingState(); got != "NOT_SERVING" {
		t.Errorf("gRPC health with a wrong key file = %s, want NOT_SERVING", got)
	}
	if log := g.log.String(); !strings.Contains(log, `"level":"ERROR","msg":"store in trouble"`) || !strings.Contains(log, "the key file has no key of this store") {
		t.Errorf("the log does not tell of the wrong key file:\n%s", log)
	}
	s.replace(s.dir+"/serving.json", right)
	g.await("be ready", func() bool { return g.servingState() == "SERVING" })
	g.answers(granted.Secret, "GET /api/3/orders/2", 503, "filter_missing")
}

// With a wrong password serve is not ready, and says why without showing it.
func TestWrongPassword(t *testing.T) {
	s := newShell(t)
	s.vars["ADDR"] = s.redis.Addr
	g := s.launch("--redis redis://nobody:hunter2@$ADDR")
	r := g.readyz()
	if problems := strings.Join(r.Problems, " "); r.status != 503 || !strings.Contains(problems, "WRONGPASS") || strings.Contains(problems+g.log.String(), "hunter2") {
		t.Errorf("readyz with a wrong password = %+v, want 503 and why; the log:\n%s", r, g.log)
	}
	g.answers("a.foreign.token.of.good.form", "GET /", 503, "store_unavailable")
}

// A store that other keys begin after the gate has seen it empty is not this
// gate's any more.
func TestStoreTakenByOthers(t *testing.T) {
	s := newShell(t)
	g := s.serve("")
	if r := g.readyz(); r.Store != "the store is empty: no secret was ever made in it" {
		t.Errorf("store = %q, want empty", r.Store)
	}
	g.answers("a.foreign.token.of.good.form", "GET /", 503, "store_unavailable")
	s.ok("key new $DIR/other.json")
	token := s.form("merchant create m1 --key-file $DIR/other.json").Secret
	g.await("see that the store is another's", func() bool {
		return strings.Contains(strings.Join(g.readyz().Problems, " "), "the key file has no key of this store")
	})
	g.answers(token, "GET /", 503, "store_unavailable")
	g.answers("a.foreign.token.of.good.form", "GET /", 503, "store_unavailable")
	if r := g.readyz(); r.status != 503 {
		t.Errorf("readyz = %+v, want 503", r)
	}
	g.showsMetric("postern_store_up 0")
	g.showsMetric("postern_ready 0")
	g.await("not serve", func() bool { return g.servingState() == "NOT_SERVING" })
}

// A store that was emptied says of no secret that it is unknown.
func TestStoreEmptied(t *testing.T) {
	s := newShell(t)
	warm, cold := s.create("--permission getOrderLabel+shipping_price"), s.create("--permission getOrder")
	g := s.serve("")
	g.answers(warm.Secret, "GET /api/3/orders/1/label", 200, "granted")
	s.ask("FLUSHALL")
	g.answers(warm.Secret, "GET /api/3/orders/1/label", 200, "granted")
	g.answers(cold.Secret, "GET /api/3/orders/1", 503, "record_missing")
	g.answers("a.foreign.token.of.good.form", "GET /", 503, "store_unavailable")
	g.await("see that the store was emptied", func() bool {
		return strings.Contains(strings.Join(g.readyz().Problems, " "), "emptied or replaced")
	})
	if r := g.readyz(); r.status != 200 {
		t.Errorf("readyz of an emptied store = %+v, want 200: the whole fleet would be gone", r)
	}
	if log := g.log.String(); !strings.Contains(log, cold.ID) || !strings.Contains(log, "record_missing") {
		t.Errorf("the log does not tell of the lost secret:\n%s", log)
	}
}
