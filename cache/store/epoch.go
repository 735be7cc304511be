package store

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

// epochKey names the record that tells a store from an empty server, and one
// store from another.
const epochKey = "postern:epoch"

// ErrForeign says that the keyring cannot verify the store's epoch: it is the
// key file of another store.
var ErrForeign = errors.New("the key file has no key of this store: use the key file that the store's secrets were made with")

// errEmptied says that the store has lost its epoch while sidecars run that
// know one.
var errEmptied = fmt.Errorf("%w: the store was emptied or replaced while sidecars run that know it: restore it from a backup; or, to begin anew, stop them first", authz.StoreUnavailable)

// epochRecord is the stored form of an epoch.
type epochRecord struct {
	Version int    `json:"version"`
	Epoch   string `json:"epoch"` // random
}

// Epoch reads the store's epoch from the master: "" where there is none, as on
// an empty server. The error is ErrForeign where no key of the keyring sealed
// it, and authz.StoreUnavailable where it could not be read.
func (s *Store) Epoch(ctx context.Context) (string, error) {
	epoch, _, err := s.epoch(ctx, s.Keyring())
	return epoch, err
}

// Verifies reports whether keys can verify the store's epoch, as Epoch does.
func (s *Store) Verifies(ctx context.Context, keys *authz.Keyring) error {
	_, _, err := s.epoch(ctx, keys)
	return err
}

func (s *Store) epoch(ctx context.Context, keys *authz.Keyring) (epoch, keyID string, err error) {
	stored, err := s.client.Get(ctx, epochKey).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return "", "", nil
	case err != nil:
		return "", "", fmt.Errorf("read the store's epoch: %w", unavailable(err))
	}
	var r epochRecord
	keyID, err = openJSON(keys, epochKey, stored, &r)
	if err != nil || r.Epoch == "" || r.Version != recordVersion {
		return "", "", ErrForeign
	}
	return r.Epoch, keyID, nil
}

// begin makes sure that the store has an epoch which the keyring verifies, and
// a log. It comes before every write.
func (s *Store) begin(ctx context.Context) error {
	keys := s.Keyring()
	epoch, _, err := s.epoch(ctx, keys)
	switch {
	case err != nil:
		return err
	case epoch != "":
		return s.beginLog(ctx)
	}
	if err := s.checkFleet(ctx); err != nil {
		return err
	}
	sealed, err := sealJSON(keys, epochKey, epochRecord{Version: recordVersion, Epoch: rand.Text()})
	if err != nil {
		return err
	}
	if _, err := s.announce(ctx, "", 0); err != nil { // an empty log proves nothing
		return err
	}
	if err := s.client.SetNX(ctx, epochKey, sealed, 0).Err(); err != nil {
		return fmt.Errorf("begin the store: %w", unavailable(err))
	}
	return s.Verifies(ctx, keys) // another first write may have won
}

// beginLog begins the log where there is none, as after someone deleted it:
// that proves nothing to those who follow it.
func (s *Store) beginLog(ctx context.Context) error {
	head, err := s.LogHead(ctx)
	if err == nil && head == (Entry{}) {
		_, err = s.announce(ctx, "", 0)
	}
	return err
}

// checkFleet refuses to take a store without an epoch for a new one while
// sidecars run that know one.
func (s *Store) checkFleet(ctx context.Context) error {
	fleet, _, err := s.Fleet(ctx)
	if err == nil && slices.ContainsFunc(fleet, func(sidecar Sidecar) bool { return sidecar.Epoch != "" }) {
		err = errEmptied
	}
	return err
}

// Check reports whether the store's word can be taken that something is not
// there. The error is as Epoch's, and authz.StoreUnavailable where the store
// has lost its epoch while sidecars run that know one. A store that was never
// begun holds nothing.
func (s *Store) Check(ctx context.Context) error {
	epoch, err := s.Epoch(ctx)
	if err == nil && epoch == "" {
		err = s.checkFleet(ctx)
	}
	return err
}

// reseal seals the epoch under the minting key of keys.
func (s *Store) reseal(ctx context.Context, keys *authz.Keyring) error {
	epoch, keyID, err := s.epoch(ctx, s.Keyring())
	if err != nil || epoch == "" || keyID == keys.KeyIDs()[0] {
		return err
	}
	sealed, err := sealJSON(keys, epochKey, epochRecord{Version: recordVersion, Epoch: epoch})
	if err != nil {
		return err
	}
	if err := s.client.Set(ctx, epochKey, sealed, 0).Err(); err != nil {
		return fmt.Errorf("seal the epoch anew: %w", unavailable(err))
	}
	return nil
}
