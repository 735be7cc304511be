package authz

import (
	"errors"
	"time"
)

// Successor is a secret like s, made now, without an id. It ends at a moment
// or, where that is zero, lives as long as s was made to.
func (s *Secret) Successor(ends, now time.Time) Secret {
	if ends.IsZero() && !s.ExpiresAt.IsZero() {
		ends = now.Add(s.ExpiresAt.Sub(s.CreatedAt))
	}
	return Secret{
		Merchant: s.Merchant, Description: s.Description, CreatedAt: now, ExpiresAt: ends, AllowIPs: s.AllowIPs,
		Catalog: s.Catalog, Unrestricted: s.Unrestricted, Grants: s.Grants,
	}
}

// ErrUnrestricted says that a legacy secret has no permissions to choose.
var ErrUnrestricted = errors.New("the secret opens every endpoint: it has no permissions to read again")

// Regrant is the secret with other permissions, as the catalog has them now.
// Its error is ErrUnrestricted, or [Faults].
func (s Secret) Regrant(c *Catalog, choices []Choice) (Secret, error) {
	if s.Unrestricted {
		return Secret{}, ErrUnrestricted
	}
	draft := Draft{Merchant: s.Merchant, Description: s.Description, Permissions: choices, ExpiresAt: s.ExpiresAt}
	fresh, err := draft.Secret(c, s.CreatedAt)
	if err != nil {
		return Secret{}, err
	}
	s.Grants, s.Catalog = fresh.Grants, fresh.Catalog
	return s, nil
}
