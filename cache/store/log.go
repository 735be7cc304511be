package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

// logKey names the change log: a stream whose entries say "read this secret
// again" and carry no authority. It has one hash slot with the fleet.
const logKey = "{postern}:log"

// logLength is about how many entries the log keeps. A follower that is
// further behind sees a gap.
const logLength = 100_000

// appendEntry appends an entry with the sequence number after the last one's.
// Redis's own ids cannot prove that none is missing. Where there is no last one,
// or it is not ours, the numbers begin anew, at the time in milliseconds: what
// anyone else wrote must not end deleting, and what was trimmed must not look
// like what comes after it.
var appendEntry = redis.NewScript(`
local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
local sequence = last and tonumber(last[2][2])
if not (sequence and sequence > 0 and sequence < 2^53) then
  local now = redis.call('TIME')
  sequence = now[1] * 1000 + math.floor(now[2] / 1000)
end
return redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'sequence', string.format('%d', sequence + 1), 'secret', ARGV[1])`)

// Position is a place in the log: the stream id of an entry. The zero Position
// is before the first entry.
type Position struct{ millis, count uint64 }

// parsePosition reads a stream id.
func parsePosition(id string) (Position, error) {
	millis, count, ok := strings.Cut(id, "-")
	m, err := strconv.ParseUint(millis, 10, 64)
	n, err2 := strconv.ParseUint(count, 10, 64)
	if !ok || err != nil || err2 != nil {
		return Position{}, fmt.Errorf("%q is no place in the log", id)
	}
	return Position{m, n}, nil
}

// String is the stream id.
func (p Position) String() string { return fmt.Sprintf("%d-%d", p.millis, p.count) }

// Previous is the last place before p.
func (p Position) Previous() Position {
	switch {
	case p.count > 0:
		return Position{p.millis, p.count - 1}
	case p.millis > 0:
		return Position{p.millis - 1, math.MaxUint64}
	}
	return p
}

// Before reports whether p comes before q.
func (p Position) Before(q Position) bool {
	return p.millis < q.millis || p.millis == q.millis && p.count < q.count
}

// Entry is an entry of the log. One that anyone but us wrote may have a
// Sequence of 0, which follows no other.
type Entry struct {
	Position Position
	Sequence int64
	Secret   string // id

	// Trimmed tells of LogHead's entry that it is not in the log any more, and
	// so that only its Position is known.
	Trimmed bool
}

func parseEntry(m redis.XMessage) (Entry, error) {
	at, err := parsePosition(m.ID)
	if err != nil {
		return Entry{}, err
	}
	sequence, _ := m.Values["sequence"].(string)
	secret, _ := m.Values["secret"].(string)
	n, _ := strconv.ParseInt(sequence, 10, 64)
	return Entry{Position: at, Sequence: n, Secret: secret}, nil
}

// announce appends to the log that a secret has changed, and waits for
// replicas.
func (s *Store) announce(ctx context.Context, id string, replicas int) (at Position, err error) {
	err = s.pinned(ctx, logKey, func(c *redis.Conn) error {
		text, err := appendEntry.Run(ctx, c, []string{logKey}, id, logLength).Text()
		if err != nil {
			return fmt.Errorf("announce that secret %s has changed: %w", id, unavailable(err))
		}
		if at, err = parsePosition(text); err != nil {
			return err
		}
		return awaitAsked(ctx, c, replicas)
	})
	return at, err
}

// ReadLog reads the entries after a position, oldest first, a few hundred at
// most. Where there are none it waits for one, for block at most. ctx must end
// later than that.
func (s *Store) ReadLog(ctx context.Context, after Position, block time.Duration) ([]Entry, error) {
	streams, err := s.client.XRead(ctx, &redis.XReadArgs{Streams: []string{logKey, after.String()}, Count: 512, Block: block}).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return nil, fmt.Errorf("read the log: %w: %w", authz.StoreUnavailable, err)
	}
	var entries []Entry
	for _, stream := range streams {
		for _, m := range stream.Messages {
			e, err := parseEntry(m)
			if err != nil {
				return nil, fmt.Errorf("read the log: %w: %w", authz.StoreUnavailable, err)
			}
			entries = append(entries, e)
		}
	}
	return entries, nil
}

// LogHead reads the newest entry that the log ever had: the zero Entry where
// there is no log.
func (s *Store) LogHead(ctx context.Context) (Entry, error) {
	messages, err := s.client.XRevRangeN(ctx, logKey, "+", "-", 1).Result()
	switch {
	case err != nil:
		return Entry{}, fmt.Errorf("read the log's head: %w: %w", authz.StoreUnavailable, err)
	case len(messages) == 0:
		return s.trimmedHead(ctx)
	}
	return parseEntry(messages[0])
}

// trimmedHead is the head of a log without entries: a stream knows the id of
// the last one it had.
func (s *Store) trimmedHead(ctx context.Context) (Entry, error) {
	stream, err := s.client.XInfoStream(ctx, logKey).Result()
	switch {
	case redis.HasErrorPrefix(err, "no such key"):
		return Entry{}, nil
	case err != nil:
		return Entry{}, fmt.Errorf("read the log's head: %w: %w", authz.StoreUnavailable, err)
	}
	at, err := parsePosition(stream.LastGeneratedID)
	if err != nil {
		return Entry{}, fmt.Errorf("read the log's head: %w: %w", authz.StoreUnavailable, err)
	}
	return Entry{Position: at, Trimmed: true}, nil
}
