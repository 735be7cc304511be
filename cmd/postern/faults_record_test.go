//go:build faults

package main

import (
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

// A record that is spoiled is that secret's trouble alone: what the gate knows
// of it is used until the log says that it has changed, then it is 503, and
// never 401 or 403.
func TestFaultsOfOneRecord(t *testing.T) {
	for _, tt := range []struct {
		name   string
		spoil  [][]any // KEY stands for the record's
		reason string
	}{
		{"lost", [][]any{{"DEL", "KEY"}}, "record_missing"},
		{"of another type", [][]any{{"DEL", "KEY"}, {"LPUSH", "KEY", "x"}}, "record_invalid"},
		{"empty", [][]any{{"SET", "KEY", ""}}, "record_invalid"},
		{"truncated", [][]any{{"SET", "KEY", `{"version":1,"id":"`}}, "record_invalid"},
		{"a byte changed", [][]any{{"SETRANGE", "KEY", 30, "\x00"}}, "record_invalid"},
		{"of 10 MB", [][]any{{"SETRANGE", "KEY", 10_000_000, "x"}}, "record_invalid"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newShell(t)
			all := s.secrets(4)
			warm, cold, good, other := all[0], all[1], all[2], all[3]
			g := s.serve("")
			g.warm(warm, good)
			for _, f := range all[:2] {
				for _, command := range tt.spoil {
					s.ask(named(command, "postern:secret:"+f.ID)...)
				}
			}
			g.demand(200, "granted", warm, good, other)
			g.demand(503, tt.reason, cold)
			before := g.metric("postern_cache_entries")
			s.announce(warm.ID)
			g.await("read it again", func() bool { return g.metric("postern_cache_entries") < before })
			g.demand(503, tt.reason, warm, cold)
			g.demand(200, "granted", good, other)
			if log := g.log.String(); !strings.Contains(log, warm.ID) || !strings.Contains(log, tt.reason) {
				t.Errorf("the log does not tell of %s, %s:\n%s", warm.ID, tt.reason, log)
			}
			if tt.reason == "record_missing" { // of which there is no more than the token
				s.refused(s.run("secret delete", warm.ID), "sidecars may still use it", "--token-stdin")
				s.ended(s.runWith(warm.Secret, "secret delete --token-stdin"), exitDone)
			} else {
				s.ok("secret delete", warm.ID)
			}
			g.demand(401, "deleted", warm)
		})
	}
}

// demand demands one answer for each of some secrets.
func (g *gate) demand(status int, reason string, all ...authz.Form) {
	g.s.t.Helper()
	for _, f := range all {
		g.answers(f.Secret, request, status, reason)
	}
}

// named is a command with a key's name in the place of KEY.
func named(command []any, key string) []any {
	all := make([]any, len(command))
	for i, word := range command {
		if all[i] = word; word == "KEY" {
			all[i] = key
		}
	}
	return all
}

// announce writes to the log, as anyone at Redis may, that a secret has changed.
func (s *shell) announce(id string) {
	s.t.Helper()
	if err := s.eyes.XAdd(s.t.Context(), &redis.XAddArgs{Stream: "{postern}:log", Values: []any{"sequence", 1, "secret", id}}).Err(); err != nil {
		s.t.Fatal(err)
	}
}
