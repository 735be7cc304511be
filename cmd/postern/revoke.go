package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

// revokeFlags are the flags of commands that delete.
type revokeFlags struct {
	replicas *string
	wait     *time.Duration
	asJSON   *bool
}

func (c *call) revokeFlags() revokeFlags {
	return revokeFlags{
		replicas: c.flags.String("replicas", "all", "`N` replicas that must have the deletion: a number, or all that the master knows"),
		wait:     c.flags.Duration("wait", 2*time.Second, "how long to wait for sidecars to apply it"),
		asJSON:   c.jsonFlag(),
	}
}

// count is the number of replicas as the store takes it.
func (f revokeFlags) count() (int, error) {
	if *f.replicas == "all" {
		return store.AllReplicas, nil
	}
	n, err := strconv.ParseUint(*f.replicas, 10, 31)
	if err != nil {
		return 0, usagef("--replicas %q is no number: write 0, 1, 2 or all", *f.replicas)
	}
	return int(n), nil
}

func (c *call) printApplied(a store.Applied) {
	if a.Known == 0 {
		fmt.Fprintln(c.Stdout, "no sidecar runs")
		return
	}
	fmt.Fprintf(c.Stdout, "applied by %d of %d sidecars in %d ms\n", a.Applied, a.Known, a.Milliseconds)
	for _, l := range a.Late {
		fmt.Fprintf(c.Stdout, "%s has not said so: it was last heard of at %s, and must have stopped by %s\n",
			l.Name, l.Seen.Format(time.RFC3339), l.StoppedBy.Format(time.RFC3339))
	}
}

// deleteFirst deletes the first of ids that the store has; of a secret that was
// minted here, also where the store has lost it.
func (c *call) deleteFirst(s *store.Store, ids []string, minted bool, r revokeFlags) error {
	replicas, err := r.count()
	if err != nil {
		return err
	}
	remove := s.Delete
	if minted {
		remove = s.DeleteMinted
	}
	for _, id := range ids {
		begun := time.Now()
		deletion, err := remove(c.ctx, id, replicas)
		if authz.ReasonOf(err) == authz.Unknown {
			continue
		}
		if err != nil {
			return err
		}
		applied, err := s.Settle(c.ctx, deletion, begun, *r.wait)
		if err != nil {
			return err
		}
		if tombstone := deletion.Tombstones[0]; *r.asJSON {
			return c.printJSON(map[string]any{"id": id, "merchant": tombstone.Merchant, "deleted_at": tombstone.DeletedAt, "sidecars": applied})
		}
		fmt.Fprintf(c.Stdout, "secret %s is deleted\n", id)
		c.printApplied(applied)
		return nil
	}
	err = noSuchSecret(strings.Join(ids, " or "))
	if c.given("token-stdin") {
		return err
	}
	return fmt.Errorf("%w. Where the store has lost it, sidecars may still use it: delete it by its token, with --token-stdin", err)
}
