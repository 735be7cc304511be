// Package reload reads files again when they change. It polls: inotify misses
// what matters here, such as mounted ConfigMaps.
package reload

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync/atomic"
	"time"

	"github.com/postern/postern/authz"
)

// poll is how often files are looked at.
const poll = 500 * time.Millisecond

// File is a file that is read again when it changes.
type File struct {
	Name, Path string

	Loads, Refusals atomic.Int64

	load    func(ctx context.Context) error // swaps the new content in, or leaves the old one
	inUse   fs.FileInfo                     // what the content in use was, or what was refused
	settled fs.FileInfo                     // what the last look saw
	refused atomic.Pointer[string]          // why the file as it is now is not in use; nil: it is
}

// NewFile is a file whose content has just been read. load swaps a new one in,
// or fails and leaves the old one.
func NewFile(name, path string, load func(context.Context) error) *File {
	info, _ := os.Stat(path) // where it is gone already, the first look sees a change
	return &File{Name: name, Path: path, load: load, inUse: info, settled: info}
}

// Refused says why the file as it is now is not in use, or "".
func (f *File) Refused() string {
	if why := f.refused.Load(); why != nil {
		return *why
	}
	return ""
}

// changed reports whether the file differs from the one in use, and has stood
// still since the last look: so that half a file is not read, and one on its
// way from one version to the next is not missed.
func (f *File) changed() bool {
	info, err := os.Stat(f.Path)
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

// Watch is the files of a process. HangUp has them all read.
type Watch struct {
	Files  []*File
	HangUp <-chan os.Signal
	Log    *slog.Logger
	InUse  func() []slog.Attr // what is in use now, for the log
}

// Run reloads until ctx ends.
func (w Watch) Run(ctx context.Context) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		asked := false
		select {
		case <-tick.C:
		case <-w.HangUp:
			asked = true
		case <-ctx.Done():
			return
		}
		for _, f := range w.Files {
			if changed := f.changed(); changed || asked {
				w.reload(ctx, f)
			}
		}
	}
}

// reload loads a file and says what came of it. The content in use stays when
// the new one is refused. While the store cannot be asked, the file is tried
// again.
func (w Watch) reload(ctx context.Context, f *File) {
	info, _ := os.Stat(f.Path)
	err := f.load(ctx)
	if errors.Is(err, authz.StoreUnavailable) {
		info = nil
	}
	f.inUse = info
	if err != nil {
		why := err.Error()
		f.Refusals.Add(1)
		f.refused.Store(&why)
		w.Log.Error("reload refused, the old content stays in use", slog.String("file", f.Path), slog.Any("error", err))
		return
	}
	f.Loads.Add(1)
	f.refused.Store(nil)
	w.Log.LogAttrs(ctx, slog.LevelInfo, "reloaded", append([]slog.Attr{slog.String("file", f.Path)}, w.InUse()...)...)
}
