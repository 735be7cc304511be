package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

// AllReplicas makes a deletion wait for all replicas that its masters know.
const AllReplicas = -1

// Deletion is what became of deleting.
type Deletion struct {
	Tombstones []*authz.Secret
	Announced  Position // the place in the log up to which sidecars must come; zero where nothing was to be deleted
}

// Delete deletes a secret for good: a tombstone takes its record's place, the
// log says that it has changed, and it leaves its merchant's list. It returns
// once replicas have both, as many as asked or AllReplicas. Deleting again
// finishes what was left. A record that cannot be read is deleted too; its
// merchant is then not known. The error is authz.Unknown where there is no
// such secret, and ErrUnfollowed where the deletion stands, on too few
// replicas to outlive its master for sure.
func (s *Store) Delete(ctx context.Context, id string, replicas int) (Deletion, error) {
	if err := s.Check(ctx); err != nil {
		return Deletion{}, err
	}
	tombstone := authz.Secret{ID: id}
	switch secret, err := s.read(ctx, id); {
	case err == nil:
		tombstone.Merchant, tombstone.Redacted, tombstone.DeletedAt = secret.Merchant, secret.Redacted, secret.DeletedAt
	case authz.ReasonOf(err) != authz.RecordInvalid:
		return Deletion{}, err
	}
	return s.finish(ctx, tombstone, replicas)
}

// DeleteMinted is Delete for a secret that was minted here, as its token's check
// tells: also where the store has lost its record, and sidecars may still use
// what they have of it.
func (s *Store) DeleteMinted(ctx context.Context, id string, replicas int) (Deletion, error) {
	d, err := s.Delete(ctx, id, replicas)
	if authz.ReasonOf(err) != authz.Unknown {
		return d, err
	}
	if epoch, failed := s.Epoch(ctx); failed != nil || epoch == "" { // a store that was never begun has lost nothing
		return d, errors.Join(err, failed)
	}
	return s.finish(ctx, authz.Secret{ID: id}, replicas)
}

// finish buries a secret, and takes it off its merchant's list.
func (s *Store) finish(ctx context.Context, tombstone authz.Secret, replicas int) (Deletion, error) {
	id := tombstone.ID
	at, err := s.bury(ctx, &tombstone, replicas)
	if err != nil {
		return Deletion{}, err
	}
	if tombstone.Merchant != "" {
		if err := s.client.HDel(ctx, merchantKey(tombstone.Merchant), id).Err(); err != nil {
			return Deletion{}, fmt.Errorf("take secret %s off the list: %w", id, unavailable(err))
		}
	}
	s.client.Del(ctx, usageKey(id)) // for tidiness: what stays, or is written late, ends by itself
	return Deletion{[]*authz.Secret{authz.NewSecret(tombstone)}, at}, nil
}

// bury writes a tombstone in the place of a record, unless one is there, and
// then announces it: in this order, so that whoever hears of it reads it. Then
// it writes it again, to wait for replicas: a connection that were held over
// the announcement, which takes another, would let deletions at once wait for
// each other. Where that replaces a record, a failover had brought it back, and
// who heard of it may have read that: all of it is done again. A tombstone has
// no time to live.
func (s *Store) bury(ctx context.Context, tombstone *authz.Secret, replicas int) (at Position, err error) {
	revived := true
	for tries := 0; err == nil && revived && tries < 3; tries++ {
		if _, err = s.entomb(ctx, tombstone, 0); err == nil {
			at, err = s.announce(ctx, tombstone.ID, replicas)
		}
		if err == nil {
			revived, err = s.entomb(ctx, tombstone, replicas)
		}
	}
	switch {
	case errors.Is(err, ErrUnfollowed):
		err = fmt.Errorf("secret %s is deleted, but a failover could bring it back: %w: mend the replicas, then delete it again", tombstone.ID, err)
	case err == nil && revived:
		err = fmt.Errorf("secret %s: %w: its record comes back again and again: something else writes it; delete it again", tombstone.ID, authz.StoreUnavailable)
	}
	return at, err
}

// entomb writes a tombstone, and waits for replicas. Where there is one already
// it is written again, as it was: so that the wait is for this connection's
// write. It reports whether anything else stood there.
func (s *Store) entomb(ctx context.Context, tombstone *authz.Secret, replicas int) (replaced bool, err error) {
	if tombstone.DeletedAt.IsZero() {
		tombstone.DeletedAt = time.Now().UTC().Truncate(time.Millisecond)
	}
	sealed, err := encodeRecord(s.Keyring(), tombstone)
	if err != nil {
		return false, err
	}
	name := secretKey(tombstone.ID)
	err = s.pinned(ctx, name, func(c *redis.Conn) error {
		before, err := c.SetArgs(ctx, name, sealed, redis.SetArgs{Get: true}).Bytes()
		if redis.HasErrorPrefix(err, "WRONGTYPE") { // GET minds, SET does not
			err = c.Set(ctx, name, sealed, 0).Err()
		}
		if err != nil && !errors.Is(err, redis.Nil) {
			return fmt.Errorf("bury secret %s: %w", tombstone.ID, unavailable(err))
		}
		was, _, err := decodeRecord(s.Keyring(), tombstone.ID, before)
		replaced = err != nil || was.DeletedAt.IsZero()
		return awaitAsked(ctx, c, replicas)
	})
	return replaced, err
}

// forestall writes a tombstone where no record is, so that none can be stored
// there later. It reports whether it did: the record may have come first.
func (s *Store) forestall(ctx context.Context, merchant, id string) (bool, error) {
	tombstone := authz.Secret{ID: id, Merchant: merchant, DeletedAt: time.Now().UTC().Truncate(time.Millisecond)}
	sealed, err := encodeRecord(s.Keyring(), &tombstone)
	if err != nil {
		return false, err
	}
	set, err := s.client.SetNX(ctx, secretKey(id), sealed, 0).Result()
	if err != nil {
		return false, fmt.Errorf("bury secret %s: %w", id, unavailable(err))
	}
	return set, nil
}

// DeleteMerchant closes a merchant for good, then deletes every secret of it,
// each as Delete does. The error is authz.Unknown where there is no such
// merchant.
func (s *Store) DeleteMerchant(ctx context.Context, merchant string, replicas int) (Deletion, error) {
	if err := s.Check(ctx); err != nil {
		return Deletion{}, err
	}
	x, err := s.index(ctx, merchant)
	if err != nil {
		return Deletion{}, err
	}
	if !x.known {
		return Deletion{}, fmt.Errorf("delete merchant %s: %w", merchant, authz.Unknown)
	}
	if err := s.client.HSet(ctx, merchantKey(merchant), closedField, "").Err(); err != nil {
		return Deletion{}, fmt.Errorf("close merchant %s: %w", merchant, unavailable(err))
	}
	if x, err = s.index(ctx, merchant); err != nil { // again: nothing is added from here on
		return Deletion{}, err
	}
	var all Deletion
	for _, id := range x.ids {
		d, err := s.deleteListed(ctx, merchant, id, replicas)
		if err != nil {
			return all, err
		}
		all.Tombstones = append(all.Tombstones, d.Tombstones...)
		if all.Announced.Before(d.Announced) {
			all.Announced = d.Announced
		}
	}
	return all, nil
}

// deleteListed deletes a secret of a list, also one that is not stored yet. It
// leaves another merchant's, which two imports of one token at once can put on
// a list.
func (s *Store) deleteListed(ctx context.Context, merchant, id string, replicas int) (Deletion, error) {
	switch secret, err := s.read(ctx, id); {
	case err == nil && secret.Merchant != merchant:
		return Deletion{}, nil
	case authz.ReasonOf(err) == authz.Unknown:
		if _, err := s.forestall(ctx, merchant, id); err != nil {
			return Deletion{}, err
		}
	}
	return s.Delete(ctx, id, replicas)
}
