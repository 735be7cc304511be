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

// bury writes a tombstone, as of now, in the place of a record. A tombstone
// has no time to live.
func (s *Store) bury(ctx context.Context, tombstone *authz.Secret) error {
	tombstone.DeletedAt = time.Now().UTC().Truncate(time.Millisecond)
	sealed, err := encodeRecord(s.Keyring(), tombstone)
	if err != nil {
		return err
	}
	if err := s.client.Set(ctx, secretKey(tombstone.ID), sealed, 0).Err(); err != nil {
		return fmt.Errorf("bury secret %s: %w", tombstone.ID, unavailable(err))
	}
	return nil
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
	for _, id := range x.ids {
		if err := s.deleteListed(ctx, merchant, id); err != nil {
			return nil, err
		}
	}
	return x.ids, nil
}

// deleteListed deletes a secret of a list, also one that is not stored yet:
// the tombstone keeps its record from being stored later.
func (s *Store) deleteListed(ctx context.Context, merchant, id string) error {
	_, err := s.Delete(ctx, id)
	if authz.ReasonOf(err) != authz.Unknown {
		return err
	}
	if err := s.bury(ctx, &authz.Secret{ID: id, Merchant: merchant}); err != nil {
		return err
	}
	_, err = s.Delete(ctx, id)
	return err
}
