package store

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/postern/postern/authz"
)

// Applied is how far the sidecars have applied a deletion, as the command line
// and the management API show it.
type Applied struct {
	Applied      int    `json:"applied"`
	Known        int    `json:"known"` // sidecars that run, or may still
	Milliseconds int64  `json:"milliseconds"`
	Late         []Late `json:"late"`
}

// Late is a sidecar that has not said that it applied a deletion.
type Late struct {
	Name      string    `json:"name"`
	Seen      time.Time `json:"seen"`
	StoppedBy time.Time `json:"stopped_by"` // by then it has stopped using what was deleted, wherever it is
}

// Settle waits until the sidecars have applied a deletion that began at a
// moment, and at most for wait.
func (s *Store) Settle(ctx context.Context, d Deletion, begun time.Time, wait time.Duration) (Applied, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	applied, late, err := s.AwaitApplied(ctx, d.Announced)
	if err != nil {
		return Applied{}, fmt.Errorf("it is deleted; ask the sidecars whether they have applied that: %w", err)
	}
	a := Applied{Applied: len(applied), Known: len(applied) + len(late), Milliseconds: time.Since(begun).Milliseconds(), Late: []Late{}}
	for _, sidecar := range late {
		a.Late = append(a.Late, Late{sidecar.Name, sidecar.Seen, sidecar.stoppedBy()})
	}
	return a, nil
}

// Behind counts the sidecars whose catalog lacks an endpoint of a secret: they
// deny it. all is the number of those that run, or may still.
func (s *Store) Behind(ctx context.Context, secret *authz.Secret) (behind, all int, err error) {
	fleet, _, err := s.Fleet(ctx)
	if err != nil {
		return 0, 0, err
	}
	known := map[string]bool{secret.Catalog: true} // by hash of a catalog
	for _, sidecar := range fleet {
		if _, ok := known[sidecar.Catalog]; !ok {
			snapshot, err := s.Catalog(ctx, sidecar.Catalog)
			known[sidecar.Catalog] = err == nil && snapshot.offers(secret)
		}
		if !known[sidecar.Catalog] {
			behind++
		}
	}
	return behind, len(fleet), nil
}

// offers reports whether a catalog has every endpoint of a secret.
func (s Snapshot) offers(secret *authz.Secret) bool {
	all := s.Endpoints()
	for _, g := range secret.Grants {
		for _, e := range g.Endpoints {
			if !slices.Contains(all, e.Method+" "+e.Path) {
				return false
			}
		}
	}
	return true
}
