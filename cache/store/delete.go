package store

import (
	"context"
	"fmt"
	"time"

	"github.com/postern/postern/authz"
)

// Delete deletes a secret for good: a tombstone takes its record's place, then
// it leaves its merchant's list. Deleting again finishes what was left. A
// record that cannot be read is deleted too; its merchant is then not known.
// It returns the tombstone. The error is authz.Unknown where there is no such
// secret.
func (s *Store) Delete(ctx context.Context, id string) (*authz.Secret, error) {
	if _, err := s.Epoch(ctx); err != nil {
		return nil, err
	}
	tombstone := authz.Secret{ID: id}
	switch secret, err := s.Read(ctx, id); {
	case err == nil:
		tombstone.Merchant, tombstone.Redacted, tombstone.DeletedAt = secret.Merchant, secret.Redacted, secret.DeletedAt
	case authz.ReasonOf(err) != authz.RecordInvalid:
		return nil, err
	}
	if tombstone.DeletedAt.IsZero() {
		if err := s.bury(ctx, &tombstone); err != nil {
			return nil, err
		}
	}
	if tombstone.Merchant != "" {
		if err := s.client.HDel(ctx, merchantKey(tombstone.Merchant), id).Err(); err != nil {
			return nil, fmt.Errorf("take secret %s off the list: %w", id, unavailable(err))
		}
	}
	return authz.NewSecret(tombstone), nil
}

// bury writes a tombstone in the place of a record, and says in it when. A
// tombstone has no time to live.
func (s *Store) bury(ctx context.Context, tombstone *authz.Secret) error {
	sealed, err := s.sealTombstone(tombstone)
	if err != nil {
		return err
	}
	if err := s.client.Set(ctx, secretKey(tombstone.ID), sealed, 0).Err(); err != nil {
		return fmt.Errorf("bury secret %s: %w", tombstone.ID, unavailable(err))
	}
	return nil
}

// forestall writes a tombstone where no record is, so that none can be stored
// there later. It reports whether it did: the record may have come first.
func (s *Store) forestall(ctx context.Context, merchant, id string) (bool, error) {
	sealed, err := s.sealTombstone(&authz.Secret{ID: id, Merchant: merchant})
	if err != nil {
		return false, err
	}
	set, err := s.client.SetNX(ctx, secretKey(id), sealed, 0).Result()
	if err != nil {
		return false, fmt.Errorf("bury secret %s: %w", id, unavailable(err))
	}
	return set, nil
}

func (s *Store) sealTombstone(tombstone *authz.Secret) ([]byte, error) {
	tombstone.DeletedAt = time.Now().UTC().Truncate(time.Millisecond)
	return encodeRecord(s.Keyring(), tombstone)
}

// DeleteMerchant closes a merchant for good, then deletes every secret of it.
// It returns the ids. The error is authz.Unknown where there is no such
// merchant.
func (s *Store) DeleteMerchant(ctx context.Context, merchant string) ([]string, error) {
	if _, err := s.Epoch(ctx); err != nil {
		return nil, err
	}
	x, err := s.index(ctx, merchant)
	if err != nil {
		return nil, err
	}
	if !x.known {
		return nil, fmt.Errorf("delete merchant %s: %w", merchant, authz.Unknown)
	}
	if err := s.client.HSet(ctx, merchantKey(merchant), closedField, "").Err(); err != nil {
		return nil, fmt.Errorf("close merchant %s: %w", merchant, unavailable(err))
	}
	if x, err = s.index(ctx, merchant); err != nil { // again: nothing is added from here on
		return nil, err
	}
	var deleted []string
	for _, id := range x.ids {
		ours, err := s.deleteListed(ctx, merchant, id)
		if err != nil {
			return nil, err
		}
		if ours {
			deleted = append(deleted, id)
		}
	}
	return deleted, nil
}

// deleteListed deletes a secret of a list, also one that is not stored yet. It
// leaves another merchant's, which two imports of one token at once can put on
// a list, and reports false.
func (s *Store) deleteListed(ctx context.Context, merchant, id string) (bool, error) {
	switch secret, err := s.Read(ctx, id); {
	case err == nil && secret.Merchant != merchant:
		return false, nil
	case authz.ReasonOf(err) == authz.Unknown:
		if _, err := s.forestall(ctx, merchant, id); err != nil {
			return false, err
		}
	}
	_, err := s.Delete(ctx, id)
	return err == nil, err
}
