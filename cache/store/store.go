// Package store keeps the record of truth in Redis: one string per secret,
// one hash per merchant that lists them, and the epoch that tells a store from
// an empty server. It uses single-key commands only, so the same code runs on
// one Redis, Sentinel and Cluster.
package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

// readChunk is how many keys one pipeline reads.
const readChunk = 256

// Store reads and writes secrets. It is safe for concurrent use.
type Store struct {
	client redis.UniversalClient
	keys   atomic.Pointer[authz.Keyring]
}

// New is a store on client, whose records are sealed under keys. The caller
// closes the client.
func New(client redis.UniversalClient, keys *authz.Keyring) *Store {
	s := &Store{client: client}
	s.keys.Store(keys)
	return s
}

// Keyring is the keyring in use.
func (s *Store) Keyring() *authz.Keyring { return s.keys.Load() }

// SetKeyring replaces the keyring in use.
func (s *Store) SetKeyring(keys *authz.Keyring) { s.keys.Store(keys) }

// Read reads one secret, or its tombstone, from the master. The error is
// authz.Unknown where there is no such record in a store that can be believed
// (see Check), authz.RecordInvalid where the record cannot be used, and
// authz.StoreUnavailable where it could not be read.
func (s *Store) Read(ctx context.Context, id string) (*authz.Secret, error) {
	secret, err := s.read(ctx, id)
	if authz.ReasonOf(err) == authz.Unknown {
		err = cmp.Or(s.Check(ctx), err)
	}
	return secret, err
}

// read is Read that believes the store.
func (s *Store) read(ctx context.Context, id string) (*authz.Secret, error) {
	return s.secretOf(id, s.client.Get(ctx, secretKey(id)))
}

// secretOf is what the reply to a GET of its record says of a secret.
func (s *Store) secretOf(id string, reply *redis.StringCmd) (*authz.Secret, error) {
	stored, err := reply.Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return nil, fmt.Errorf("read secret %s: %w", id, authz.Unknown)
	case err != nil:
		return nil, fmt.Errorf("read secret %s: %w", id, unavailable(err))
	}
	secret, _, err := decodeRecord(s.Keyring(), id, stored)
	return secret, err
}

// Find reads the secret of a token, or its tombstone, under each digest that
// the token may have. The store is believed: what Unknown means is the caller's
// to judge. A token that was minted under the keyring was in the store once,
// and is authz.RecordMissing instead; other errors are as Read's.
func (s *Store) Find(ctx context.Context, t authz.Lookup) (*authz.Secret, error) {
	for _, d := range t.All() {
		secret, err := s.read(ctx, d.ID())
		if authz.ReasonOf(err) != authz.Unknown {
			return secret, err
		}
	}
	missing := authz.Unknown
	if t.Minted {
		missing = authz.RecordMissing
	}
	return nil, fmt.Errorf("read secret %s: %w", t.Digest.ID(), missing)
}

// unavailable marks an error of the store. A reply that is no answer to the
// question, such as WRONGTYPE, is about the record and not about the store.
func unavailable(err error) error {
	if redis.HasErrorPrefix(err, "WRONGTYPE") {
		return fmt.Errorf("%w: %w", authz.RecordInvalid, err)
	}
	return fmt.Errorf("%w: %w", authz.StoreUnavailable, err)
}
