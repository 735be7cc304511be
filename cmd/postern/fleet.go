package main

import (
	"fmt"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

// warnOfOldCatalogs warns of sidecars that do not know the endpoints of a new
// secret yet: they deny them. What cannot be found out is no reason to fail.
func (c *call) warnOfOldCatalogs(s *store.Store, secret *authz.Secret) {
	behind, all, err := s.Behind(c.ctx, secret)
	if err != nil {
		c.warn("the sidecars cannot be asked whether they know these permissions: %v", err)
	}
	if behind > 0 {
		c.warn("%s: give them the catalog", describeBehind(behind, all, len(secret.Grants)))
	}
}

func describeBehind(behind, all, permissions int) string {
	what := "this permission"
	if permissions > 1 {
		what = "these permissions"
	}
	return fmt.Sprintf("%d of %d sidecars do not know %s yet", behind, all, what)
}
