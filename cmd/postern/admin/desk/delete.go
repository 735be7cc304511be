package desk

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cmd/postern/admin/access"
	"github.com/postern/postern/cmd/postern/admin/audit"
)

// Deleted is what became of deleting, as the command line shows it.
type Deleted struct {
	ID        string        `json:"id"`
	Merchant  string        `json:"merchant"`
	DeletedAt time.Time     `json:"deleted_at"`
	Sidecars  store.Applied `json:"sidecars"`

	Secret authz.Form `json:"-"` // for the page; zero of a record that cannot be read
}

// ErrHalfDeleted says that a secret is deleted, and that this must be done
// again to be sure of it.
var ErrHalfDeleted = errors.New("the secret is deleted, but not everywhere for sure: delete it again")

// Delete deletes a secret of a merchant for good. Deleting again finishes what
// was left.
func (d *Desk) Delete(ctx context.Context, v *Visit, merchant, id string) (Deleted, error) {
	secret, err := d.deletable(ctx, v, merchant, id)
	if err != nil {
		return Deleted{}, err
	}
	done := Deleted{ID: id, Merchant: merchant}
	if secret != nil {
		done.Secret = secret.Form()
	}
	err = d.change(ctx, v, audit.Entry{Action: "secret.delete", Merchant: merchant, Secret: id}, func(ctx context.Context, e *audit.Entry) error {
		begun := time.Now()
		deletion, err := d.Store.Delete(ctx, id, store.AllReplicas)
		if errors.Is(err, store.ErrUnfollowed) {
			return fmt.Errorf("%w: %w", ErrHalfDeleted, err)
		}
		if err != nil {
			return err
		}
		done.DeletedAt = deletion.Tombstones[0].DeletedAt
		if done.Sidecars, err = d.Store.Settle(ctx, deletion, begun, settleWithin); err != nil {
			return fmt.Errorf("%w: %w", ErrHalfDeleted, err)
		}
		e.Detail = fmt.Sprintf("applied by %d of %d sidecars", done.Sidecars.Applied, done.Sidecars.Known)
		return nil
	})
	return done, err
}

// deletable refuses what is not the merchant's. A record that cannot be read
// does not say whose it is: an operator may delete it where it is listed.
func (d *Desk) deletable(ctx context.Context, v *Visit, merchant, id string) (*authz.Secret, error) {
	secret, err := d.find(ctx, merchant, id)
	if authz.ReasonOf(err) != authz.RecordInvalid {
		return secret, err
	}
	_, broken, err := d.Store.List(ctx, merchant)
	if err != nil {
		return nil, err
	}
	if _, listed := broken[id]; !listed || v.Identity.Role != access.Operator {
		return nil, ErrNotFound
	}
	return nil, nil
}

// Newer is what came to the catalog after a secret was issued, and that it
// therefore does not have.
type Newer struct {
	Permission *authz.Permission
	Endpoints  []string // of the permission; all of them, where it is new
	Whole      bool     // the permission is new
}

// NewerThan tells which permissions a secret predates. Where what its catalog
// offered is not known, those that it has and that have grown.
func (d *Desk) NewerThan(ctx context.Context, s *authz.Secret) ([]Newer, error) {
	if s.Unrestricted {
		return nil, nil
	}
	snapshot, err := d.Store.Catalog(ctx, s.Catalog)
	if err != nil {
		return nil, err
	}
	var all []Newer
	catalog := d.Catalog()
	for i := range catalog.Permissions {
		if n := newer(&catalog.Permissions[i], snapshot.Endpoints()); len(n.Endpoints) > 0 && len(snapshot.Permissions) > 0 {
			all = append(all, n)
		}
	}
	return all, nil
}

// newer is what of a permission is not among endpoints.
func newer(p *authz.Permission, endpoints []string) Newer {
	n := Newer{Permission: p, Whole: true}
	for _, e := range p.Endpoints {
		switch {
		case e.Retired:
		case slices.ContainsFunc(endpoints, e.Is):
			n.Whole = false
		default:
			n.Endpoints = append(n.Endpoints, e.String())
		}
	}
	return n
}
