package store

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/postern/postern/authz"
)

// ErrClosed says that the merchant was deleted.
var ErrClosed = errors.New("the merchant was deleted, and its id cannot be used again")

// Conflict is the error of a write that what is stored rules out.
type Conflict struct{ error }

func (c Conflict) Unwrap() error { return c.error }

// Create mints a token for a secret and stores the secret: id, redacted form
// and record. The token is in no other place. Where the error is not nil, no
// usable secret is stored; but where the store's answer to the last step was
// lost, one that List shows, and whose token nobody has.
func (s *Store) Create(ctx context.Context, secret authz.Secret) (authz.Token, *authz.Secret, error) {
	return s.mint(ctx, secret, nil)
}

// CreateLegacy mints a merchant's legacy secret. A merchant has one: the error
// names it.
func (s *Store) CreateLegacy(ctx context.Context, secret authz.Secret) (authz.Token, *authz.Secret, error) {
	return s.createLegacy(ctx, secret, "")
}

// Rotate mints a new secret that stands beside the secret old, with what
// secret says. Of legacy secrets there are two at most, until one is deleted.
func (s *Store) Rotate(ctx context.Context, secret authz.Secret, old string) (authz.Token, *authz.Secret, error) {
	if secret.Unrestricted {
		return s.createLegacy(ctx, secret, old)
	}
	return s.mint(ctx, secret, nil)
}

// Import stores a secret whose token was minted elsewhere. sum is the token's
// SHA-256. A token that is, or was, in the store is refused. Where the error is
// authz.StoreUnavailable the secret may be stored all the same: importing again
// tells.
func (s *Store) Import(ctx context.Context, secret authz.Secret, sum [sha256.Size]byte) (*authz.Secret, error) {
	if err := s.begin(ctx); err != nil {
		return nil, err
	}
	digests := s.Keyring().ImportedDigests(sum)
	for _, d := range digests {
		switch known, err := s.read(ctx, d.ID()); {
		case err == nil && !known.DeletedAt.IsZero():
			return nil, fmt.Errorf("this token was deleted as secret %s: a deleted token cannot come back; mint a new secret", d.ID())
		case err == nil:
			return nil, fmt.Errorf("this token is already in the store, as secret %s of merchant %s", d.ID(), known.Merchant)
		case authz.ReasonOf(err) != authz.Unknown:
			return nil, err
		}
	}
	secret.ID, secret.Redacted = digests[0].ID(), authz.Imported
	return s.write(ctx, secret, nil)
}

func (s *Store) mint(ctx context.Context, secret authz.Secret, legacy *legacyList) (authz.Token, *authz.Secret, error) {
	if err := s.begin(ctx); err != nil {
		return authz.Token{}, nil, err
	}
	keys := s.Keyring()
	token, digest, err := keys.Mint()
	if err != nil {
		return authz.Token{}, nil, err
	}
	secret.ID, secret.Redacted = digest.ID(), keys.Redact(token)
	stored, err := s.write(ctx, secret, legacy)
	if err != nil {
		return authz.Token{}, nil, err
	}
	return token, stored, nil
}

// legacyList is a merchant's legacy field as it was read.
type legacyList struct {
	stored string
	live   []string // those of its ids that live
}

// write stores a new secret: first its place in the list, then the record, so
// that there is never a live secret that the list does not show. legacy is nil
// for a secret with grants.
func (s *Store) write(ctx context.Context, secret authz.Secret, legacy *legacyList) (*authz.Secret, error) {
	sealed, err := encodeRecord(s.Keyring(), &secret)
	if err != nil {
		return nil, err
	}
	arguments := []any{secret.ID, ""}
	if legacy != nil {
		arguments = []any{secret.ID, "legacy", legacy.stored, strings.Join(append(legacy.live, secret.ID), ",")}
	}
	switch answer, err := enlist.Run(ctx, s.client, []string{merchantKey(secret.Merchant)}, arguments...).Text(); {
	case err != nil:
		return nil, fmt.Errorf("list secret %s: %w", secret.ID, unavailable(err))
	case answer == "closed":
		return nil, Conflict{fmt.Errorf("merchant %s: %w", secret.Merchant, ErrClosed)}
	case answer == "changed":
		return nil, Conflict{fmt.Errorf("the legacy secrets of merchant %s were changed by someone else just now: look again", secret.Merchant)}
	}
	if err := s.setNew(ctx, secret.ID, sealed); err != nil {
		return nil, err
	}
	return authz.NewSecret(secret), nil
}

// setNew stores a record where none is. There may be a tombstone already: of a
// merchant that was deleted meanwhile, or of a legacy secret that took too
// long; or the record of another import of the same token; or this very
// record, where a client sent the command again over a new connection.
func (s *Store) setNew(ctx context.Context, id string, sealed []byte) error {
	set, err := s.client.SetNX(ctx, secretKey(id), sealed, 0).Result()
	if err != nil {
		return fmt.Errorf("store secret %s: %w", id, unavailable(err))
	}
	if set {
		return nil
	}
	switch there, err := s.client.Get(ctx, secretKey(id)).Bytes(); {
	case err != nil:
		return fmt.Errorf("store secret %s: %w", id, unavailable(err))
	case !bytes.Equal(there, sealed):
		return Conflict{fmt.Errorf("secret %s was deleted, or imported by someone else, while it was being made: try again", id)}
	}
	return nil
}

// createLegacy mints a legacy secret beside old, or the first one where old is
// "".
func (s *Store) createLegacy(ctx context.Context, secret authz.Secret, old string) (authz.Token, *authz.Secret, error) {
	if err := s.begin(ctx); err != nil {
		return authz.Token{}, nil, err
	}
	x, err := s.index(ctx, secret.Merchant)
	if err != nil {
		return authz.Token{}, nil, err
	}
	live, err := s.liveLegacy(ctx, secret.Merchant, x.legacy)
	if err != nil {
		return authz.Token{}, nil, err
	}
	others := slices.DeleteFunc(slices.Clone(live), func(id string) bool { return id == old })
	switch {
	case len(others) > 0 && old == "":
		return authz.Token{}, nil, Conflict{fmt.Errorf("merchant %s has the legacy secret %s already: rotate it, or delete it first", secret.Merchant, others[0])}
	case len(others) > 0:
		return authz.Token{}, nil, Conflict{fmt.Errorf("merchant %s has a second legacy secret already: delete one of the two first", secret.Merchant)}
	}
	return s.mint(ctx, secret, &legacyList{x.legacy, live})
}

// liveLegacy reads which of a merchant's legacy secrets live. One that was
// listed and never stored is buried, so that it cannot be stored later.
func (s *Store) liveLegacy(ctx context.Context, merchant, ids string) ([]string, error) {
	live := []string{}
	for id := range strings.SplitSeq(ids, ",") {
		if id == "" {
			continue
		}
		secret, err := s.read(ctx, id)
		switch reason := authz.ReasonOf(err); {
		case reason == authz.Unknown:
			buried, err := s.forestall(ctx, merchant, id)
			if err != nil {
				return nil, err
			}
			if !buried { // it was stored just now
				live = append(live, id)
			}
		case err != nil && reason != authz.RecordInvalid:
			return nil, err
		case err != nil || secret.DeletedAt.IsZero():
			live = append(live, id)
		}
	}
	return live, nil
}
