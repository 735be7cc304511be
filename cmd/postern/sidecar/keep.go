package sidecar

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

// keepSockets makes socket files again that were removed, until ctx ends, and
// has serve serve on them. Who is connected to the old ones stays so.
func (s *sidecar) keepSockets(ctx context.Context, b *binder, serve func(*listener)) {
	tick := time.NewTicker(pollFiles)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for i, l := range b.bound {
			if _, err := os.Lstat(l.path); l.path == "" || !errors.Is(err, fs.ErrNotExist) {
				continue
			}
			again, err := b.bindAgain(l)
			if err != nil {
				if l.trouble != err.Error() {
					l.trouble = err.Error()
					s.Log.Error("a socket file was removed", slog.String("path", l.path), slog.Any("error", err))
				}
				continue
			}
			s.Log.Warn("a socket file was removed: it is made again", slog.String("path", l.path))
			b.bound[i] = again
			serve(again)
		}
	}
}

// bindAgain binds a listener's path once more, and publishes it, unless another
// process has done so meanwhile.
func (b *binder) bindAgain(l *listener) (*listener, error) {
	again, err := b.listenUnix(l.path)
	if err != nil {
		return nil, err
	}
	if err := os.Link(again.temporary, l.path); err != nil {
		again.Close()
		return nil, errors.Join(fmt.Errorf("make it again: %w", err), os.Remove(again.temporary))
	}
	again.protocol = l.protocol
	return again, os.Remove(again.temporary)
}
