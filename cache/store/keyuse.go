package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

// scanCount is how many keys one step of a scan asks for.
const scanCount = 1000

// Retire makes the store ready to lose the key of this id: it refuses while
// live secrets need the key; deletes the expired ones that do; and seals the
// key's tombstones and the epoch under the minting key of without, which is
// the keyring less that key. Every record is read.
func (s *Store) Retire(ctx context.Context, id string, without *authz.Keyring) error {
	if err := s.Check(ctx); err != nil {
		return err
	}
	use, err := s.useOf(ctx, id)
	if err != nil {
		return err
	}
	if use.live > 0 {
		return fmt.Errorf("key %s is needed by %d live secrets: rotate or delete them first", id, use.live)
	}
	for _, secret := range use.dead {
		if err := s.rebury(ctx, secret); err != nil {
			return err
		}
	}
	return s.reseal(ctx, without)
}

// rebury makes a tombstone of a secret that is deleted or expired, under the
// minting key.
func (s *Store) rebury(ctx context.Context, secret *authz.Secret) error {
	if secret.DeletedAt.IsZero() {
		_, err := s.Delete(ctx, secret.ID, AllReplicas)
		return err
	}
	sealed, err := encodeRecord(s.Keyring(), secret)
	if err != nil {
		return err
	}
	if err := s.client.Set(ctx, secretKey(secret.ID), sealed, 0).Err(); err != nil {
		return fmt.Errorf("seal the tombstone of secret %s anew: %w", secret.ID, unavailable(err))
	}
	return nil
}

// keyUse is what a key sealed.
type keyUse struct {
	mu   sync.Mutex // guards what follows
	live int
	dead []*authz.Secret // deleted or expired
}

// useOf reads every record of every master.
func (s *Store) useOf(ctx context.Context, keyID string) (*keyUse, error) {
	use := &keyUse{}
	count := func(ctx context.Context, client redis.UniversalClient) error {
		scan := client.Scan(ctx, 0, secretKey("*"), scanCount).Iterator()
		for scan.Next(ctx) {
			if err := s.addUse(ctx, client, scan.Val(), keyID, use); err != nil {
				return err
			}
		}
		return scan.Err()
	}
	var err error
	if cluster, ok := s.client.(*redis.ClusterClient); ok {
		err = cluster.ForEachMaster(ctx, func(ctx context.Context, c *redis.Client) error { return count(ctx, c) })
	} else {
		err = count(ctx, s.client)
	}
	if err != nil {
		return nil, fmt.Errorf("scan the store: %w", unavailable(err))
	}
	return use, nil
}

// addUse adds the record under this name, if the key sealed it. One that
// cannot be used may be a newer program's, and live.
func (s *Store) addUse(ctx context.Context, client redis.UniversalClient, name, keyID string, use *keyUse) error {
	stored, err := client.Get(ctx, name).Bytes()
	if errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "WRONGTYPE") {
		return nil
	}
	if err != nil {
		return err
	}
	secret, sealedBy, err := decodeRecord(s.Keyring(), name[len(secretKey("")):], stored)
	if sealedBy != keyID {
		return nil
	}
	use.mu.Lock()
	defer use.mu.Unlock()
	if err != nil || secret.DeletedAt.IsZero() && (secret.ExpiresAt.IsZero() || time.Now().Before(secret.ExpiresAt)) {
		use.live++
	} else {
		use.dead = append(use.dead, secret)
	}
	return nil
}
