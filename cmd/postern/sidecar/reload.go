package sidecar

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/postern/postern/cache"
)

// inUse is what of the files is in use, for the log.
func (s *sidecar) inUse() []slog.Attr {
	return []slog.Attr{slog.String("catalog", s.catalog.Load().Hash()), slog.Any("keys", s.Store.Keyring().KeyIDs())}
}

func (s *sidecar) loadCatalog(context.Context) error {
	next, err := s.ReadCatalog(s.CatalogFile)
	if err != nil {
		return err
	}
	if err := s.catalog.Load().CheckSuccessor(next); err != nil {
		return fmt.Errorf("catalog %s:\n%w", s.CatalogFile, err)
	}
	s.catalog.Store(next)
	return nil
}

// loadKeys refuses keys that are not the store's, once the store is known.
func (s *sidecar) loadKeys(ctx context.Context) error {
	next, err := s.ReadKeyring(s.KeyFile)
	if err != nil {
		return err
	}
	if state, _ := s.secrets.State(); state == cache.Ready {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		if err := s.Store.Verifies(ctx, next); err != nil {
			return fmt.Errorf("key file %s: %w", s.KeyFile, err)
		}
	}
	s.Store.SetKeyring(next)
	return nil
}
