// Package desk does what the management API and the page are asked to: it
// makes, finds, rotates and deletes secrets, for one merchant at a time, and
// writes each change to the audit log before and after.
package desk

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cmd/postern/admin/access"
	"github.com/postern/postern/cmd/postern/admin/audit"
)

// Why something was not done, beside authz.Faults, store.Conflict and
// authz.StoreUnavailable.
var (
	ErrNotFound   = errors.New("there is no such secret")
	ErrUnrecorded = errors.New("the audit log cannot be written")
	ErrGone       = errors.New("whoever asked went away before the answer, so the new secret is deleted again")
	ErrUnfinished = errors.New("what came of it cannot be recorded")
)

// Bounds of one change.
const (
	changeWithin = 15 * time.Second // in the store
	settleWithin = 2 * time.Second  // on the sidecars
)

// Desk does. Its fields are required.
type Desk struct {
	Store   *store.Store
	Catalog func() *authz.Catalog
	Audit   *audit.Log
	Log     *slog.Logger
}

// Visit is one request: who makes it, and from where. It is of one goroutine.
type Visit struct {
	Request  string // id
	From     string // address
	Identity access.Identity

	// Recorded tells that the audit log has an entry of what became of it.
	Recorded bool
}

// Record writes an entry of a visit. It hides what is the text of a secret.
func (d *Desk) Record(v *Visit, e audit.Entry) error {
	e.Time, e.Request, e.From = time.Now(), v.Request, v.From
	e.Who, e.Role = v.Identity.Name, v.Identity.Role.String()
	e.Merchant = d.hush(e.Merchant)
	if err := d.Audit.Append(e); err != nil {
		d.Log.Error("audit log cannot be written", slog.String("request", v.Request), slog.String("action", e.Action), slog.Any("error", err))
		return fmt.Errorf("%w: %w", ErrUnrecorded, err)
	}
	v.Recorded = v.Recorded || e.Result != audit.Begun
	d.Log.Info("audit", slog.String("request", v.Request), slog.String("action", e.Action), slog.String("result", e.Result), slog.String("head", d.Audit.Head().String()))
	return nil
}

// hush takes out words that are tokens: people paste them in wrong places.
func (d *Desk) hush(text string) string {
	words := strings.Fields(text)
	hidden := false
	for i, word := range words {
		token, reason := authz.ParseToken(word)
		if reason != authz.Undecided {
			continue
		}
		lookup, _ := d.Store.Keyring().Lookup(token)
		if lookup.Minted || strings.HasPrefix(word, access.TokenPrefix) {
			words[i], hidden = "(a secret)", true
		}
	}
	if !hidden {
		return text
	}
	return strings.Join(words, " ")
}

// change does something that the audit log has before and after. do says what
// its entry is to say, beside what it was begun with.
func (d *Desk) change(ctx context.Context, v *Visit, e audit.Entry, do func(context.Context, *audit.Entry) error) error {
	e.Result = audit.Begun
	if err := d.Record(v, e); err != nil {
		return err
	}
	// Whoever asked may go away: what was begun is done all the same.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), changeWithin)
	defer cancel()
	err := do(ctx, &e)
	e.Change = nil // it is in the entry that began
	switch _, conflict := errors.AsType[store.Conflict](err); {
	case err == nil:
		e.Result = audit.Done
	case conflict:
		e.Result, e.Detail = audit.Refused, d.hush(err.Error())
	default:
		e.Result, e.Detail = audit.Failed, d.hush(err.Error())
	}
	if failed := d.Record(v, e); failed != nil {
		return errors.Join(err, ErrUnfinished, failed)
	}
	return err
}

// IsID reports whether text has the form of a secret's id.
func IsID(text string) bool {
	bytes, err := hex.DecodeString(text)
	return err == nil && len(bytes) == 16 && strings.ToLower(text) == text
}

// find reads a record of a merchant: another's is not found.
func (d *Desk) find(ctx context.Context, merchant, id string) (*authz.Secret, error) {
	if !IsID(id) {
		return nil, ErrNotFound
	}
	secret, err := d.Store.Read(ctx, id)
	switch {
	case authz.ReasonOf(err) == authz.Unknown, err == nil && secret.Merchant != merchant:
		return nil, ErrNotFound
	case err != nil:
		return nil, err
	}
	return secret, nil
}

// Find reads a live secret of a merchant. Another's, or a deleted one, is not
// found.
func (d *Desk) Find(ctx context.Context, merchant, id string) (*authz.Secret, error) {
	secret, err := d.find(ctx, merchant, id)
	if err == nil && !secret.DeletedAt.IsZero() {
		return nil, ErrNotFound
	}
	if authz.ReasonOf(err) == authz.RecordInvalid {
		return nil, ErrNotFound // whose it is cannot be told
	}
	return secret, err
}

// List reads a merchant's live secrets, oldest first, and tells the ids of
// those whose records cannot be used.
func (d *Desk) List(ctx context.Context, merchant string) ([]*authz.Secret, []string, error) {
	secrets, broken, err := d.Store.List(ctx, merchant)
	var ids []string
	for id, err := range broken {
		d.Log.Warn("a record cannot be used", slog.String("merchant", merchant), slog.String("secret", id), slog.Any("error", err))
		ids = append(ids, id)
	}
	return secrets, ids, err
}
