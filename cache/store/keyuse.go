package store

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

// scanCount is how many keys one step of a scan asks for.
const scanCount = 1000

// Retire makes the store ready to lose the key of this id: it refuses while
// live secrets need the key, and seals the epoch under the minting key of
// without, which is the keyring less that key. Every record is read.
func (s *Store) Retire(ctx context.Context, id string, without *authz.Keyring) error {
	n, err := s.countLive(ctx, id)
	if err != nil {
		return err
	}
	if n > 0 {
		return fmt.Errorf("key %s is needed by %d live secrets: rotate or delete them first", id, n)
	}
	return s.reseal(ctx, without)
}

// countLive counts the live secrets of every master that were minted under
// the key of this id.
func (s *Store) countLive(ctx context.Context, keyID string) (int64, error) {
	if err := s.Verifies(ctx, s.Keyring()); err != nil {
		return 0, err
	}
	var n atomic.Int64
	count := func(ctx context.Context, client redis.UniversalClient) error {
		scan := client.Scan(ctx, 0, secretKey("*"), scanCount).Iterator()
		for scan.Next(ctx) {
			live, err := s.isLive(ctx, client, scan.Val(), keyID)
			if err != nil {
				return err
			}
			if live {
				n.Add(1)
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
		return 0, fmt.Errorf("scan the store: %w", unavailable(err))
	}
	return n.Load(), nil
}

func (s *Store) isLive(ctx context.Context, client redis.UniversalClient, name, keyID string) (bool, error) {
	stored, err := client.Get(ctx, name).Bytes()
	if errors.Is(err, redis.Nil) || redis.HasErrorPrefix(err, "WRONGTYPE") {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	secret, sealedBy, err := decodeRecord(s.Keyring(), name[len(secretKey("")):], stored)
	if err != nil || sealedBy != keyID {
		return sealedBy == keyID, nil // a newer program's record may live
	}
	expired := !secret.ExpiresAt.IsZero() && !time.Now().Before(secret.ExpiresAt)
	return secret.DeletedAt.IsZero() && !expired, nil
}
