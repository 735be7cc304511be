package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

const (
	apiOne   = "/a/{id}: {get: {operationId: getA}}"
	apiTwo   = "/b: {get: {operationId: getB}}"
	apiFixed = "/a/fixed: {get: {operationId: getFixed}}"
)

// says waits until /readyz has this problem, and nothing else changed.
func (g *gate) says(problem string) {
	g.s.t.Helper()
	g.await("say "+problem, func() bool { return strings.Contains(strings.Join(g.readyz().Problems, " "), problem) })
	if r := g.readyz(); r.status != 200 || !r.Ready {
		g.s.t.Errorf("readyz after a reload that was refused = %+v, want ready still", r)
	}
}

// A good catalog comes into use when its file changes, a bad one does not, and
// operators can see why. SIGHUP spares the test the wait.
func TestCatalogReload(t *testing.T) {
	s := newShell(t)
	catalog := s.write("api.yaml", document(apiOne, apiFixed))
	s.env["POSTERN_CATALOG"] = catalog
	old := s.create("--permission getA --permission getFixed")
	g := s.start("")
	hash := g.readyz().Catalog
	g.showsMetric(`postern_catalog_info{hash="` + hash + `"} 1`)

	s.replace(catalog, document(apiOne, apiFixed, apiTwo))
	fresh := s.create("--permission getB")
	g.answers(fresh.Secret, "GET /b", 403, "not_catalogued")
	g.await("load the new catalog", func() bool { return g.readyz().Catalog != hash })
	g.answers(fresh.Secret, "GET /b", 200, "granted")
	g.answers(old.Secret, "GET /b", 403, "not_granted")
	g.answers(old.Secret, "GET /a/fixed", 200, "granted")
	g.showsMetric(`postern_reloads_total{file="catalog",result="loaded"} 1`)

	hash = g.readyz().Catalog
	refused := []struct{ text, problem string }{
		{"openapi: 3.1.0\npaths: [}", "line 2: "},
		{document(apiOne, apiTwo), "/a/fixed is gone, and /a/{id} would catch its paths"},
		{document(apiTwo, "/a/*: {get: {operationId: getA}}"), "line 5: "},
	}
	for i, tt := range refused {
		s.replace(catalog, tt.text)
		g.hangUp()
		g.says(tt.problem)
		g.says("catalog " + catalog)
		if r := g.readyz(); strings.Contains(r.Problems[0], "line 0") {
			t.Errorf("readyz names a line that is not: %q", r.Problems)
		}
		g.answers(old.Secret, "GET /a/fixed", 200, "granted")
		g.answers(old.Secret, "GET /a/1", 200, "granted")
		g.showsMetric(`postern_reload_refused{file="catalog"} 1`)
		g.showsMetric(fmt.Sprintf(`postern_reloads_total{file="catalog",result="refused"} %d`, i+1))
		if got := g.readyz().Catalog; got != hash {
			t.Errorf("catalog after one was refused = %s, want %s", got, hash)
		}
		if log := g.log.String(); !strings.Contains(log, "reload refused, the old content stays in use") || !strings.Contains(log, tt.problem) {
			t.Errorf("the log lacks %q:\n%s", tt.problem, log)
		}
	}
	s.replace(catalog, document(apiOne, strings.Replace(apiFixed, "getFixed", "getFixed, x-postern-retired: true", 1)))
	g.hangUp()
	g.await("load the good catalog", func() bool { return len(g.readyz().Problems) == 0 })
	g.showsMetric(`postern_reload_refused{file="catalog"} 0`)
	g.answers(old.Secret, "GET /a/fixed", 200, "granted")
	g.answers(old.Secret, "GET /b", 403, "not_catalogued")
}

// A file that is away for a moment, or for good, leaves the catalog in use.
func TestCatalogGone(t *testing.T) {
	s := newShell(t)
	s.env["POSTERN_CATALOG"] = s.write("api.yaml", document(apiOne))
	secret := s.create("--permission getA")
	p := s.start("")
	if err := os.Remove(s.env["POSTERN_CATALOG"]); err != nil {
		t.Fatal(err)
	}
	p.hangUp()
	p.says("api.yaml: no such file or directory")
	p.answers(secret.Secret, "GET /a/1", 200, "granted")
}

// SIGHUP reads the files again at once, also where they did not change.
func TestReloadOnSIGHUP(t *testing.T) {
	s := newShell(t)
	s.env["POSTERN_CATALOG"] = s.write("api.yaml", document(apiOne))
	p := s.start("")
	p.hangUp()
	p.await("reload", func() bool { return strings.Count(p.log.String(), `"msg":"reloaded"`) == 2 })
	p.showsMetric(`postern_reloads_total{file="catalog",result="loaded"} 1`)
	p.showsMetric(`postern_reloads_total{file="keys",result="loaded"} 1`)
}

// Keys are added, promoted and retired under a gate that runs.
func TestKeyReload(t *testing.T) {
	s := newShell(t)
	before := s.create("--permission getOrderLabel+shipping_price")
	g := s.start("")
	first := g.readyz().Keys[0]
	second := s.keyIDs("key add $KEYS")[1]
	g.await("read the added key", func() bool { return len(g.readyz().Keys) == 2 })
	s.ok("key promote $KEYS", second)
	after := s.create("--permission getOrderLabel+shipping_price")
	g.answers(after.Secret, "GET /api/3/orders/1/label", 200, "granted") // it knew the key before it minted
	g.hangUp()
	g.await("read the promotion", func() bool { return g.readyz().Keys[0] == second })
	for _, f := range []string{before.Secret, after.Secret} {
		g.answers(f, "GET /api/3/orders/1/label", 200, "granted")
	}
	s.ok("secret delete", before.ID)
	s.ok("key retire $KEYS", first)
	g.hangUp()
	g.await("read the retirement", func() bool { return slices.Equal(g.readyz().Keys, []string{second}) })
	g.answers(before.Secret, "GET /api/3/orders/1/label", 401, "unknown")
	g.answers(after.Secret, "GET /api/3/orders/1/label", 200, "granted")
	if r := g.readyz(); len(r.Problems) != 0 {
		t.Errorf("readyz after rotating keys = %+v, want no problems", r)
	}
}

// A key file that is damaged, open to others, or another store's is not taken.
func TestKeyReloadRefused(t *testing.T) {
	s := newShell(t)
	secret := s.create("--permission getOrderLabel+shipping_price")
	s.ok("key new $DIR/serving.json")
	s.ok("key new $DIR/other.json")
	other, right := s.read(s.dir+"/other.json"), s.read(s.keys)
	serving := s.write("serving.json", right)
	g := s.start("--key-file $DIR/serving.json")
	refused := []struct{ text, problem string }{
		{right[:len(right)/2], "it is not the JSON of a key file"},
		{other, "the key file has no key of this store"},
	}
	for _, tt := range refused {
		s.replace(serving, tt.text)
		g.hangUp()
		g.says("key file " + serving + ": " + tt.problem)
		g.answers(secret.Secret, "GET /api/3/orders/1/label", 200, "granted")
		g.showsMetric(`postern_reload_refused{file="keys"} 1`)
	}
	loose := s.write("loose.json", right)
	if err := os.Chmod(loose, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(loose, serving); err != nil {
		t.Fatal(err)
	}
	g.hangUp()
	g.says("key file " + serving + " may be written by others")
	s.replace(serving, right)
	g.hangUp()
	g.await("take the right key file", func() bool { return len(g.readyz().Problems) == 0 })
	g.showsMetric(`postern_reload_refused{file="keys"} 0`)
	g.answers(secret.Secret, "GET /api/3/orders/1/label", 200, "granted")
}
