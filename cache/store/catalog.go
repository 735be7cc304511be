package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

// Snapshot tells what a catalog offered when secrets were issued under it. It
// explains; nothing is decided by it.
type Snapshot struct {
	Permissions map[string][]string `json:"permissions"` // endpoints, by permission
}

// Endpoints are the endpoints of all permissions.
func (s Snapshot) Endpoints() []string {
	var all []string
	for _, endpoints := range s.Permissions {
		all = append(all, endpoints...)
	}
	return all
}

func catalogKey(hash string) string { return "postern:catalog:" + hash }

// SaveCatalog keeps what the catalog offers, once for each hash.
func (s *Store) SaveCatalog(ctx context.Context, c *authz.Catalog) error {
	if err := s.begin(ctx); err != nil {
		return err
	}
	snapshot := Snapshot{Permissions: map[string][]string{}}
	for _, p := range c.Permissions {
		for _, e := range p.Endpoints {
			snapshot.Permissions[p.ID] = append(snapshot.Permissions[p.ID], e.String())
		}
	}
	sealed, err := sealJSON(s.Keyring(), catalogKey(c.Hash()), snapshot)
	if err != nil {
		return err
	}
	if err := s.client.SetNX(ctx, catalogKey(c.Hash()), sealed, 0).Err(); err != nil {
		return fmt.Errorf("save the catalog: %w", unavailable(err))
	}
	return nil
}

// Catalog reads what the catalog of this hash offered. Where that is not known
// it is empty.
func (s *Store) Catalog(ctx context.Context, hash string) (Snapshot, error) {
	stored, err := s.client.Get(ctx, catalogKey(hash)).Bytes()
	switch {
	case errors.Is(err, redis.Nil):
		return Snapshot{}, nil
	case err != nil:
		return Snapshot{}, fmt.Errorf("read catalog %s: %w", hash, unavailable(err))
	}
	var snapshot Snapshot
	if _, err := openJSON(s.Keyring(), catalogKey(hash), stored, &snapshot); err != nil {
		return Snapshot{}, nil
	}
	return snapshot, nil
}
