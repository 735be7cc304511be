package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache"
)

// file is a file that is read again when it changes.
type file struct {
	name, path string
	load       func(ctx context.Context) error // swaps the new content in, or leaves the old one

	inUse   fs.FileInfo // what the content in use was, or what was refused
	settled fs.FileInfo // what the last look saw

	loads, refusals atomic.Int64
	refused         atomic.Pointer[string] // why the file as it is now is not in use; nil: it is
}

func newFile(name, path string, load func(context.Context) error) *file {
	info, _ := os.Stat(path) // where it is gone already, the first look sees a change
	return &file{name: name, path: path, load: load, inUse: info, settled: info}
}

// changed reports whether the file differs from the one in use, and has stood
// still since the last look: so that half a file is not read, and one on its
// way from one version to the next is not missed.
func (f *file) changed() bool {
	info, err := os.Stat(f.path)
	if err != nil {
		info = nil
	}
	still := same(info, f.settled)
	f.settled = info
	return still && !same(info, f.inUse)
}

// same reports whether two looks saw the same file; nil saw none.
func same(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime()) && a.Mode() == b.Mode()
}

// watchFiles reloads on SIGHUP and when a file has changed, until ctx ends.
func (s *sidecar) watchFiles(ctx context.Context) {
	tick := time.NewTicker(pollFiles)
	defer tick.Stop()
	for {
		asked := false
		select {
		case <-tick.C:
		case <-s.hangUp:
			asked = true
		case <-ctx.Done():
			return
		}
		for _, f := range s.files {
			if changed := f.changed(); changed || asked {
				s.reload(ctx, f)
			}
		}
	}
}

// reload loads a file and says what came of it. The content in use stays when
// the new one is refused. While the store cannot be asked, the file is tried
// again.
func (s *sidecar) reload(ctx context.Context, f *file) {
	info, _ := os.Stat(f.path)
	err := f.load(ctx)
	if errors.Is(err, authz.StoreUnavailable) {
		info = nil
	}
	f.inUse = info
	if err != nil {
		why := err.Error()
		f.refusals.Add(1)
		f.refused.Store(&why)
		s.Log.Error("reload refused, the old content stays in use", slog.String("file", f.path), slog.Any("error", err))
		return
	}
	f.loads.Add(1)
	f.refused.Store(nil)
	s.Log.Info("reloaded", slog.String("file", f.path), slog.String("catalog", s.catalog.Load().Hash()), slog.Any("keys", s.Store.Keyring().KeyIDs()))
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
