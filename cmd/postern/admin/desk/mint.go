package desk

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cmd/postern/admin/audit"
)

// Minted is a secret that was just made, and its text.
type Minted struct {
	Token  authz.Token
	Secret *authz.Secret

	// Behind, of All sidecars, do not know its endpoints yet, and deny them.
	Behind, All int
}

// asked is what was asked of a new secret, for the audit log.
type asked struct {
	Description string         `json:"description,omitempty"`
	Permissions []authz.Choice `json:"permissions,omitempty"`
	AllowIPs    []string       `json:"allow_ips,omitempty"`
	ExpiresAt   *time.Time     `json:"expires_at,omitempty"`
}

func (d *Desk) askedOf(s *authz.Secret) asked {
	f := s.Form()
	return asked{d.hush(f.Description), s.Choices(), f.AllowIPs, f.ExpiresAt}
}

// now is the moment that a new secret is made at, as it will be stored.
func now() time.Time { return time.Now().UTC().Truncate(time.Millisecond) }

// Create makes the secret of a draft. What is wrong with it is authz.Faults.
func (d *Desk) Create(ctx context.Context, v *Visit, draft authz.Draft) (Minted, error) {
	catalog := d.Catalog()
	secret, err := draft.Secret(catalog, now())
	if err != nil {
		return Minted{}, err
	}
	e := audit.Entry{Action: "secret.create", Merchant: draft.Merchant, Change: d.askedOf(&secret)}
	return d.mint(ctx, v, e, func(ctx context.Context) (authz.Token, *authz.Secret, error) { return d.Store.Create(ctx, secret) })
}

// CreateMerchant makes an account's legacy secret.
func (d *Desk) CreateMerchant(ctx context.Context, v *Visit, id string) (Minted, error) {
	if err := authz.CheckMerchant(id); err != nil {
		return Minted{}, authz.Faults{{Field: "id", Text: err.Error()}}
	}
	secret := authz.Secret{Merchant: id, Description: "Legacy API Secret", CreatedAt: now(), Unrestricted: true}
	e := audit.Entry{Action: "merchant.create", Merchant: id}
	return d.mint(ctx, v, e, func(ctx context.Context) (authz.Token, *authz.Secret, error) {
		return d.Store.CreateLegacy(ctx, secret)
	})
}

// Rotation is what is asked of a secret's successor.
type Rotation struct {
	ExpiresAt time.Time      // zero: it lives as long as the old one was made to
	Latest    bool           // the same permissions, as they are now
	Choices   []authz.Choice // or these, as they are now; nil: as they were issued
}

// Successor is what the rotation makes of a secret. What is wrong with it is
// authz.Faults.
func (r Rotation) successor(old *authz.Secret, c *authz.Catalog) (authz.Secret, error) {
	at := now()
	var faults authz.Faults
	if !r.ExpiresAt.IsZero() && !r.ExpiresAt.After(at) {
		faults = append(faults, authz.Fault{Field: "expires_at", Text: "it is in the past: name a moment to come"})
	}
	next := old.Successor(r.ExpiresAt, at)
	choices := r.Choices
	if r.Latest {
		choices = old.Choices()
	}
	if choices == nil && !r.Latest {
		return next, orNil(faults)
	}
	fresh, err := next.Regrant(c, choices)
	more, ok := errors.AsType[authz.Faults](err)
	switch {
	case errors.Is(err, authz.ErrUnrestricted):
		more = authz.Faults{{Field: "permissions", Text: err.Error()}}
	case err != nil && !ok:
		return fresh, err
	}
	for _, f := range more {
		if f.Field == "permissions" { // of the rest, all was checked
			faults = append(faults, f)
		}
	}
	return fresh, orNil(faults)
}

func orNil(faults authz.Faults) error {
	if len(faults) == 0 {
		return nil
	}
	return faults
}

// Rotate makes a secret like another, beside it.
func (d *Desk) Rotate(ctx context.Context, v *Visit, old *authz.Secret, r Rotation) (Minted, error) {
	next, err := r.successor(old, d.Catalog())
	if err != nil {
		return Minted{}, err
	}
	e := audit.Entry{Action: "secret.rotate", Merchant: old.Merchant, Detail: "beside secret " + old.ID, Change: d.askedOf(&next)}
	return d.mint(ctx, v, e, func(ctx context.Context) (authz.Token, *authz.Secret, error) {
		return d.Store.Rotate(ctx, next, old.ID)
	})
}

// mint makes a secret by create. One whose making could not be recorded to the
// end, or whose maker has gone, is deleted: nobody has seen its text.
func (d *Desk) mint(ctx context.Context, v *Visit, e audit.Entry, create func(context.Context) (authz.Token, *authz.Secret, error)) (m Minted, err error) {
	err = d.change(ctx, v, e, func(within context.Context, e *audit.Entry) (err error) {
		if m.Token, m.Secret, err = create(within); err != nil {
			return err
		}
		if e.Secret = m.Secret.ID; ctx.Err() != nil {
			return ErrGone
		}
		return nil
	})
	if err != nil {
		if m.Secret != nil {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeWithin)
			defer cancel()
			if _, failed := d.Store.Delete(ctx, m.Secret.ID, 0); failed != nil {
				d.Log.Error("a secret that was not shown is still there", slog.String("secret", m.Secret.ID), slog.Any("error", failed))
			}
		}
		return Minted{}, err
	}
	d.explain(ctx, &m)
	return m, nil
}

// explain keeps what explains a new secret. It stands without that.
func (d *Desk) explain(ctx context.Context, m *Minted) {
	if m.Secret.Unrestricted {
		return
	}
	if catalog := d.Catalog(); catalog.Hash() == m.Secret.Catalog {
		if err := d.Store.SaveCatalog(ctx, catalog); err != nil {
			d.Log.Warn("which endpoints came later cannot be told", slog.Any("error", err))
		}
	}
	var err error
	if m.Behind, m.All, err = d.Store.Behind(ctx, m.Secret); err != nil {
		d.Log.Warn("the sidecars cannot be asked whether they know these permissions", slog.Any("error", err))
	}
}
