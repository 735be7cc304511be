package listen

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"time"
)

// pollSockets is how often socket files are looked at.
const pollSockets = 500 * time.Millisecond

// Keep makes socket files again that were removed, until ctx ends, and has
// serve serve on them. Who is connected to the old ones stays so.
func (b *Binder) Keep(ctx context.Context, log *slog.Logger, serve func(*Listener)) {
	tick := time.NewTicker(pollSockets)
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
					log.Error("a socket file was removed", slog.String("path", l.path), slog.Any("error", err))
				}
				continue
			}
			log.Warn("a socket file was removed: it is made again", slog.String("path", l.path))
			b.bound[i] = again
			serve(again)
		}
	}
}

// bindAgain binds a listener's path once more, and publishes it, unless another
// process has done so meanwhile. The temporary name may stay: Close takes it
// away.
func (b *Binder) bindAgain(l *Listener) (*Listener, error) {
	again, err := b.listenUnix(l.path)
	if err != nil {
		return nil, err
	}
	if err := os.Link(again.temporary, l.path); err != nil {
		again.Close()
		return nil, errors.Join(fmt.Errorf("make it again: %w", err), os.Remove(again.temporary))
	}
	again.Protocol = l.Protocol
	os.Remove(again.temporary)
	return again, nil
}
