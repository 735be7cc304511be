package store

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

// A secret's usage is a hash: `p:<permission>` holds the minute of the last
// use, `h:<slot>` an hour and its requests, for the last hours in turn.
const (
	permissionField = "p:"
	hourField       = "h:"
	hourSlots       = 25 // this hour, and a day before it
)

func usageKey(id string) string { return "postern:usage:" + id }

// Use is a secret's use of a permission since it was last written.
type Use struct {
	Secret     string // id
	Permission string // id, or authz.AnyPath
	At         time.Time
	Requests   int64
}

// addUse adds one use. Whatever comes late, or twice, or from whom: a minute
// never goes back. It is Redis's own, from how long ago the use was. What is
// there and no hash gives way: usage carries no authority.
var addUse = redis.NewScript(`
local at = tonumber(redis.call('TIME')[1]) - tonumber(ARGV[2])
local minute, hour = math.floor(at / 60), math.floor(at / 3600)
local last = redis.pcall('HGET', KEYS[1], 'p:' .. ARGV[1])
if type(last) == 'table' then redis.call('DEL', KEYS[1]); last = false end
if minute > (tonumber(last or 0) or 0) then redis.call('HSET', KEYS[1], 'p:' .. ARGV[1], minute) end
local slot = 'h:' .. hour % tonumber(ARGV[5])
local was, n = string.match(redis.call('HGET', KEYS[1], slot) or '', '^(%d+) (%d+)$')
was, n = tonumber(was or 0), tonumber(n or 0)
if hour > was then n = 0 end
if hour >= was then redis.call('HSET', KEYS[1], slot, string.format('%d %.0f', hour, n + tonumber(ARGV[3]))) end
redis.call('EXPIRE', KEYS[1], ARGV[4])
return redis.status_reply('OK')`)

// WriteUses adds uses in one pipeline, and returns those that were not added
// for all it knows: they can be added again, at the price of some requests
// that count twice.
func (s *Store) WriteUses(ctx context.Context, uses []Use) (failed []Use, err error) {
	now := time.Now()
	kept := int64((authz.UsageKept + 24*time.Hour).Seconds()) // longer than is claimed
	commands, _ := s.client.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, u := range uses {
			age := max(int64(now.Sub(u.At).Seconds()), 0) // of a clock that was put back
			addUse.Eval(ctx, p, []string{usageKey(u.Secret)}, u.Permission, age, u.Requests, kept, hourSlots)
		}
		return nil
	})
	for i, c := range commands {
		if c.Err() != nil {
			failed, err = append(failed, uses[i]), fmt.Errorf("write uses: %w", unavailable(c.Err()))
		}
	}
	return failed, err
}

// Usage reads what is known of the use of each of these secrets. It carries no
// authority and no MAC.
func (s *Store) Usage(ctx context.Context, ids ...string) (map[string]authz.Usage, error) {
	now, err := s.time(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]authz.Usage{}
	for chunk := range slices.Chunk(ids, readChunk) {
		if err := s.readUsage(ctx, chunk, now, all); err != nil {
			return nil, fmt.Errorf("read the usage of secrets: %w", err)
		}
	}
	return all, nil
}

func (s *Store) readUsage(ctx context.Context, ids []string, now time.Time, into map[string]authz.Usage) error {
	hashes := make([]*redis.MapStringStringCmd, len(ids))
	s.client.Pipelined(ctx, func(p redis.Pipeliner) error { // each command has its error
		for i, id := range ids {
			hashes[i] = p.HGetAll(ctx, usageKey(id))
		}
		return nil
	})
	for i, id := range ids {
		fields, err := hashes[i].Result()
		if err = unavailableOrNil(err); err != nil {
			return err
		}
		into[id] = parseUsage(fields, now)
	}
	return nil
}

// unavailableOrNil passes over what is no hash: it is no usage.
func unavailableOrNil(err error) error {
	if err == nil {
		return nil
	}
	if err = unavailable(err); errors.Is(err, authz.RecordInvalid) {
		return nil
	}
	return err
}

// parseUsage reads a usage hash. It passes over what is damaged.
func parseUsage(fields map[string]string, now time.Time) authz.Usage {
	u := authz.Usage{Permissions: map[string]time.Time{}}
	for field, value := range fields {
		if id, ok := strings.CutPrefix(field, permissionField); ok && authz.IsPermission(id) {
			if at, ok := parseMinute(value); ok {
				u.Permissions[id] = at
			}
		} else if strings.HasPrefix(field, hourField) {
			u.Requests += parseHour(value, now)
		}
	}
	return u
}

// parseMinute reads a minute of Unix time that can be shown.
func parseMinute(text string) (time.Time, bool) {
	minute, err := strconv.ParseInt(text, 10, 64)
	at := time.Unix(minute*60, 0).UTC()
	return at, err == nil && minute > 0 && minute < math.MaxInt32*2 && at.Year() < 10000
}

// parseHour reads the requests of an hour: 0 where it is over for a day.
func parseHour(text string, now time.Time) int64 {
	hour, requests, _ := strings.Cut(text, " ")
	h, err := strconv.ParseInt(hour, 10, 64)
	n, err2 := strconv.ParseInt(requests, 10, 64)
	if err != nil || err2 != nil || n < 0 || n > 1<<53 || h <= now.Unix()/3600-hourSlots {
		return 0
	}
	return n
}
