//go:build !race

package cache

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

// TestMemory demands that secrets with equal grants, ten here, share them: what
// each costs beyond them is its place in the LRU, its id and its merchant.
func TestMemory(t *testing.T) {
	const n, limit = 4000, 400
	w, _ := onRedis(t)
	secrets := make([]authz.Lookup, n)
	for i := range secrets {
		token, _, err := w.store.Create(t.Context(), authz.Secret{
			Merchant: fmt.Sprint("m-", i), Description: "Warehouse of the north", CreatedAt: time.Now(), Catalog: fmt.Sprintf("%064x", 1), Grants: tenGrants(),
		})
		if err != nil {
			t.Fatal(err)
		}
		secrets[i] = w.lookup(token)
	}
	c := w.cached(Options{Timeout: time.Second})
	for _, l := range secrets[:64] { // with what is there once: the grants, the connection
		want(t, "first", c, l, here, found)
	}
	before := heap()
	for _, l := range secrets[64:] {
		want(t, "others", c, l, here, found)
	}
	each := (heap() - before) / (n - 64)
	t.Logf("%d bytes a secret", each)
	if each > limit {
		t.Errorf("a secret costs %d bytes, want %d at most", each, limit)
	}
	runtime.KeepAlive(c)
}

func tenGrants() (all []authz.Grant) {
	for i := range 10 {
		path := fmt.Sprintf("/api/3/things%d/{id}/parts", i)
		all = append(all, authz.Grant{Permission: fmt.Sprint("GET_", path), Endpoints: []authz.GrantedEndpoint{{Method: "GET", Path: path}}})
	}
	return all
}

// heap is what is in use, after two collections: cleanups run behind the first.
func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
