package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// fleetKey names the hash of sidecars: a field for each, with its report.
const fleetKey = "{postern}:sidecars"

// Report is what a sidecar says of itself, every second and after each change
// that it applied.
type Report struct {
	Name     string `json:"name"`     // of the process, unique
	Instance string `json:"instance"` // random: tells processes of one name apart
	Catalog  string `json:"catalog"`  // hash
	Applied  string `json:"applied"`  // the Position up to which it has applied the log
	Skipped  string `json:"skipped"`  // that up to which it may not have seen all of it, and use a secret as it was; "" where it has seen all
	Epoch    string `json:"epoch"`    // of the store, as it first saw it

	// Bound is how long after its last report it may still use a secret as it
	// was: after that it has stopped, whatever has become of it.
	Bound time.Duration `json:"bound"`

	// Unwritten is how long before the report the oldest use of a secret may
	// have been that the sidecar has not written; 0 where it does not say. Lost
	// is how long before it the last use was that it will not write; 0: none.
	Unwritten time.Duration `json:"unwritten"`
	Lost      time.Duration `json:"lost,omitempty"`

	// Anew takes the name over from whoever had it: in the first report, and in
	// no other.
	Anew bool `json:"-"`

	// RunID is that of the master whose log Applied is a place in; "" takes it
	// for a place in any.
	RunID string `json:"-"`
}

// Sidecar is a sidecar as the store knows it.
type Sidecar struct {
	Report
	Seen time.Time // of its last report, by Redis's clock
}

// stoppedBy is when the sidecar must have stopped using a secret as it was
// before the last report, by Redis's clock.
func (s Sidecar) stoppedBy() time.Time { return s.Seen.Add(s.Bound) }

// hasApplied reports whether the sidecar has applied the log's entry at p, in
// the store of an epoch. One that knows another store, or none, may speak of
// another log.
func (s Sidecar) hasApplied(p Position, epoch string) bool {
	if s.Epoch != epoch {
		return false
	}
	at, err := parsePosition(s.Applied)
	if err != nil || at.Before(p) {
		return false
	}
	skipped, err := parsePosition(s.Skipped)
	return s.Skipped == "" || err == nil && skipped.Before(p)
}

// ErrNameTaken tells that another process reports by the name of this one. It
// may have begun since, as its successor; but both cannot be counted.
var ErrNameTaken = errors.New("another sidecar has the same name")

// stamp stores a report with Redis's time before it, and returns that time. ARGV[3]
// is what the report before it must hold, if there is one.
var stamp = redis.NewScript(`
local now, before = redis.call('TIME'), redis.call('HGET', KEYS[1], ARGV[1])
if before and ARGV[3] ~= '' and not string.find(before, ARGV[3], 1, true) then return 'taken' end
redis.call('HSET', KEYS[1], ARGV[1], now[1] .. string.format('%06d', now[2]) .. ' ' .. ARGV[2])
return now[1] .. string.format('%06d', now[2])`)

// Report stores a sidecar's report on the master that keeps the log, and says
// what that master is, also where it does not take the report; its RunID is ""
// where it does not answer. Where it has replicas, or fenced demands one, a
// replica must take the report too: a master that was cut off answers readily
// and knows nothing. ErrUnfollowed tells that none did. The error is
// ErrNameTaken where another process has reported by the name since this one's
// last report.
func (s *Store) Report(ctx context.Context, r Report, fenced bool) (m Master, err error) {
	err = s.pinned(ctx, fleetKey, func(c *redis.Conn) error {
		if m, err = inspect(ctx, c); err != nil {
			return err
		}
		if r.RunID != "" && r.RunID != m.RunID {
			r.Applied = "" // in another log
		}
		text, err := json.Marshal(r)
		if err != nil {
			return fmt.Errorf("encode report: %w", err)
		}
		must := instanceOf(r.Instance)
		if r.Anew {
			must = ""
		}
		switch took, err := stamp.Run(ctx, c, []string{fleetKey}, r.Name, text, must).Text(); {
		case err != nil:
			return fmt.Errorf("report to the store: %w", unavailable(err))
		case took == "taken":
			return fmt.Errorf("report to the store as %s: %w", r.Name, ErrNameTaken)
		}
		if m.Replicas == 0 && !fenced {
			return nil
		}
		return awaitReplicas(ctx, c, 1)
	})
	return m, err
}

// instanceOf is how an instance stands in its report.
func instanceOf(instance string) string { return `"instance":"` + instance + `"` }

// Leave takes a sidecar off the list: it has stopped. Its successor of the same
// name stays.
func (s *Store) Leave(ctx context.Context, name, instance string) error {
	report, err := s.client.HGet(ctx, fleetKey, name).Result()
	if err == nil && strings.Contains(report, instanceOf(instance)) {
		err = s.client.HDel(ctx, fleetKey, name).Err()
	}
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("leave the fleet: %w", unavailable(err))
	}
	return nil
}

// Fleet lists the sidecars that may still use a secret as it was, by name, and
// tells Redis's time. Those that must have stopped are left out, and forgotten
// an hour later.
func (s *Store) Fleet(ctx context.Context) ([]Sidecar, time.Time, error) {
	fields, err := s.client.HGetAll(ctx, fleetKey).Result()
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("list the sidecars: %w", unavailable(err))
	}
	now, err := s.time(ctx)
	if err != nil {
		return nil, time.Time{}, err
	}
	var fleet []Sidecar
	for name, text := range fields {
		sidecar, err := parseSidecar(name, text)
		switch {
		case err != nil || now.Sub(sidecar.stoppedBy()) > time.Hour:
			s.client.HDel(ctx, fleetKey, name) // for tidiness: the next look tries again
		case now.Before(sidecar.stoppedBy()):
			fleet = append(fleet, sidecar)
		}
	}
	slices.SortFunc(fleet, func(a, b Sidecar) int { return strings.Compare(a.Name, b.Name) })
	return fleet, now, nil
}

// look is how often AwaitApplied looks at the fleet.
const look = 5 * time.Millisecond

// AwaitApplied waits until every sidecar has applied the log up to p, or ctx
// ends. It returns those that have and those that have not.
func (s *Store) AwaitApplied(ctx context.Context, p Position) (applied, late []Sidecar, err error) {
	epoch, err := s.Epoch(context.WithoutCancel(ctx))
	if err != nil {
		return nil, nil, err
	}
	for {
		fleet, _, err := s.Fleet(context.WithoutCancel(ctx))
		if err != nil {
			return nil, nil, err
		}
		applied, late = nil, nil
		for _, sidecar := range fleet {
			if sidecar.hasApplied(p, epoch) {
				applied = append(applied, sidecar)
			} else {
				late = append(late, sidecar)
			}
		}
		if len(late) == 0 {
			return applied, nil, nil
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return applied, late, nil
		}
	}
}

// parseSidecar reads what stamp stored.
func parseSidecar(name, text string) (Sidecar, error) {
	micros, report, ok := strings.Cut(text, " ")
	n, err := strconv.ParseInt(micros, 10, 64)
	if !ok || err != nil {
		return Sidecar{}, fmt.Errorf("report of sidecar %q has no time", name)
	}
	s := Sidecar{Seen: time.UnixMicro(n).UTC()}
	if err := json.Unmarshal([]byte(report), &s.Report); err != nil || s.Name != name || s.Bound <= 0 {
		return Sidecar{}, fmt.Errorf("report of sidecar %q is damaged", name)
	}
	return s, nil
}
