package store

import (
	"context"
	"time"

	"github.com/postern/postern/authz"
)

// reportsWithin is how far a sidecar may be behind with writing uses before
// its report counts as missing.
const reportsWithin = 3 * time.Minute

// WrittenTo is the moment up to which the sidecar had written all uses that it
// will write, by Redis's clock; zero where it does not say.
func (s Sidecar) WrittenTo() time.Time {
	if s.Unwritten <= 0 {
		return time.Time{}
	}
	return s.Seen.Add(-s.Unwritten)
}

// lostAt is when the sidecar last lost a use; zero: never.
func (s Sidecar) lostAt() time.Time {
	if s.Lost <= 0 {
		return time.Time{}
	}
	return s.Seen.Add(-s.Lost)
}

// reports are what the sidecars say of their uses of secrets, together.
type reports struct {
	sidecars int
	missing  []string  // names of those that are behind
	written  time.Time // up to here all have written theirs
	lost     time.Time // when one last lost a use
}

func reportsOf(fleet []Sidecar, now time.Time) reports {
	r := reports{sidecars: len(fleet), missing: []string{}, written: now}
	for _, s := range fleet {
		if s.WrittenTo().Before(now.Add(-reportsWithin)) {
			r.missing = append(r.missing, s.Name)
		}
		if s.WrittenTo().Before(r.written) {
			r.written = s.WrittenTo()
		}
		if s.lostAt().After(r.lost) {
			r.lost = s.lostAt()
		}
	}
	return r
}

// safeFrom is the moment from which a secret is safe to delete, if it is not
// used again: a use that was lost may have been one of it.
func (r reports) safeFrom(s *authz.Secret, u authz.Usage) time.Time {
	from := s.CreatedAt
	for _, at := range []time.Time{r.lost, u.Last().Add(time.Minute)} { // the minute's end
		if at.After(from) {
			from = at
		}
	}
	return from.Add(authz.Quiet).UTC().Truncate(time.Second)
}

// Forms shows secrets with what is known of their use, and whether they are
// safe to delete: where no sidecar is known, none is.
func (s *Store) Forms(ctx context.Context, secrets ...*authz.Secret) ([]authz.Form, error) {
	ids := make([]string, len(secrets))
	for i, secret := range secrets {
		ids[i] = secret.ID
	}
	fleet, now, err := s.Fleet(ctx) // before the usage: what they say they have written is in it
	if err != nil {
		return nil, err
	}
	usage, err := s.Usage(ctx, ids...)
	if err != nil {
		return nil, err
	}
	r := reportsOf(fleet, now)
	forms := make([]authz.Form, len(secrets))
	for i, secret := range secrets {
		u := usage[secret.ID]
		forms[i] = secret.FormWith(u)
		from := r.safeFrom(secret, u)
		forms[i].Usage = &authz.UsageForm{
			Permissions: u.Permissions, Requests: u.Requests, SafeFrom: from, Sidecars: r.sidecars, Missing: r.missing,
			Safe: r.sidecars > 0 && len(r.missing) == 0 && !r.written.Before(from),
		}
	}
	return forms, nil
}
