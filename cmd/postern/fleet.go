package main

import (
	"fmt"
	"slices"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

// warnOfOldCatalogs warns of sidecars that do not know the endpoints of a new
// secret yet: they deny them. What cannot be found out is no reason to fail.
func (c *call) warnOfOldCatalogs(s *store.Store, secret *authz.Secret) {
	fleet, _, err := s.Fleet(c.ctx)
	if err != nil {
		c.warn("the sidecars cannot be asked whether they know these permissions: %v", err)
		return
	}
	known := map[string]bool{secret.Catalog: true} // by hash of a catalog
	behind := 0
	for _, sidecar := range fleet {
		if _, ok := known[sidecar.Catalog]; !ok {
			snapshot, err := s.Catalog(c.ctx, sidecar.Catalog)
			known[sidecar.Catalog] = err == nil && offers(snapshot, secret)
		}
		if !known[sidecar.Catalog] {
			behind++
		}
	}
	if behind > 0 {
		c.warn("%s: give them the catalog", describeBehind(behind, len(fleet), len(secret.Grants)))
	}
}

func describeBehind(behind, all, permissions int) string {
	what := "this permission"
	if permissions > 1 {
		what = "these permissions"
	}
	return fmt.Sprintf("%d of %d sidecars do not know %s yet", behind, all, what)
}

// offers reports whether a catalog has every endpoint of a secret.
func offers(snapshot store.Snapshot, secret *authz.Secret) bool {
	all := snapshot.Endpoints()
	for _, g := range secret.Grants {
		for _, e := range g.Endpoints {
			if !slices.Contains(all, e.Method+" "+e.Path) {
				return false
			}
		}
	}
	return true
}
