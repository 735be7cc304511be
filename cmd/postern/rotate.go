package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/postern/postern/authz"
)

func secretRotate(c *call) error {
	storing := c.storeFlags()
	expires := c.flags.String("expires", "", "when the new secret ends; if not given, it lives as long as the old one was made to")
	permissions := c.flags.String("permissions", "", "`latest`: the same permissions as --catalog has them now; if not given, as they were issued")
	catalogFile := c.flags.String("catalog", "", "`FILE` of the API's OpenAPI document, for --permissions latest")
	asJSON := c.jsonFlag()
	args, err := c.parse(1)
	if err != nil {
		return err
	}
	if *permissions != "" && *permissions != "latest" {
		return usagef("--permissions %q: the only choice is latest", *permissions)
	}
	s, closer, err := c.open(storing)
	if err != nil {
		return err
	}
	defer closer.Close()
	old, err := c.read(s, args[0])
	if err != nil {
		return err
	}
	made := now()
	ends, err := c.expiry(*expires, made)
	if err != nil {
		return err
	}
	successor := old.Successor(ends, made)
	var catalog *authz.Catalog
	if *permissions == "latest" {
		if catalog, err = c.latest(&successor, *catalogFile); err != nil {
			return err
		}
	}
	token, stored, err := s.Rotate(c.ctx, successor, old.ID)
	if err != nil {
		return err
	}
	if catalog != nil {
		c.saveCatalog(s, catalog)
	}
	fmt.Fprintf(c.Stderr, "secret %s stays as it is until it is deleted\n", old.ID)
	return c.printSecret(*asJSON, token, stored)
}

// latest gives a secret the permissions that it has as the catalog has them
// now, and says what that adds and takes. It returns the catalog.
func (c *call) latest(secret *authz.Secret, file string) (*authz.Catalog, error) {
	if secret.Unrestricted {
		return nil, authz.ErrUnrestricted
	}
	if file == "" {
		return nil, usagef("--permissions latest needs --catalog")
	}
	catalog, err := readCatalog(file)
	if err != nil {
		return nil, err
	}
	fresh, err := secret.Regrant(catalog, secret.Choices())
	if err != nil {
		return nil, fmt.Errorf("nothing was stored:\n%w", err)
	}
	before, after := describe(secret.Grants), describe(fresh.Grants)
	for _, line := range after {
		if !slices.Contains(before, line) {
			fmt.Fprintf(c.Stderr, "added: %s\n", line)
		}
	}
	for _, line := range before {
		if !slices.Contains(after, line) {
			fmt.Fprintf(c.Stderr, "gone: %s\n", line)
		}
	}
	*secret = fresh
	return catalog, nil
}

// describe spells grants out as people read them: each endpoint, and each part
// of its answer that comes or is removed.
func describe(grants []authz.Grant) []string {
	var all []string
	for _, g := range grants {
		for _, e := range g.Endpoints {
			endpoint := fmt.Sprintf("%s %s (%s)", e.Method, e.Path, g.Permission)
			all = append(all, endpoint)
			for _, group := range slices.Sorted(maps.Keys(e.Groups)) {
				what := "removes"
				if slices.Contains(g.Fields, group) {
					what = "includes"
				}
				for _, path := range e.Groups[group] {
					all = append(all, fmt.Sprintf("%s %s %s", endpoint, what, path))
				}
			}
		}
	}
	return all
}
