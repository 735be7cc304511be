package main

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

func secretRotate(c *call) error {
	storing := c.storeFlags()
	expires := c.flags.String("expires", "", "when the new secret ends; if not given, it lives as long as the old one was made to")
	permissions := c.flags.String("permissions", "", "`latest`: the same permissions as --catalog has them now; if not given, as they were issued")
	catalogFile := c.flags.String("catalog", "", "`FILE` of the API's OpenAPI document, for --permissions latest")
	asJSON := c.flags.Bool("json", false, "print one JSON document")
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
	successor, err := succeed(old, *expires, now())
	if err != nil {
		return err
	}
	if *permissions == "latest" {
		if err := c.latest(s, &successor, *catalogFile); err != nil {
			return err
		}
	}
	token, stored, err := s.Rotate(c.ctx, successor, old.ID)
	if err != nil {
		return err
	}
	fmt.Fprintf(c.Stderr, "secret %s stays as it is until it is deleted\n", old.ID)
	return c.printSecret(*asJSON, token, stored)
}

// succeed is a secret like old, made now. It lives as long as old was made to,
// unless expires says otherwise.
func succeed(old *authz.Secret, expires string, made time.Time) (authz.Secret, error) {
	next := authz.Secret{
		Merchant: old.Merchant, Description: old.Description, CreatedAt: made, AllowIPs: old.AllowIPs,
		Catalog: old.Catalog, Unrestricted: old.Unrestricted, Grants: old.Grants,
	}
	if expires != "" {
		at, err := parseWhen(expires, made)
		next.ExpiresAt = at
		return next, err
	}
	if !old.ExpiresAt.IsZero() {
		next.ExpiresAt = made.Add(old.ExpiresAt.Sub(old.CreatedAt))
	}
	return next, nil
}

// latest gives a secret the permissions that it has as the catalog has them
// now, and says what that adds and takes.
func (c *call) latest(s *store.Store, secret *authz.Secret, file string) error {
	if secret.Unrestricted {
		return fmt.Errorf("secret opens every endpoint: it has no permissions to read again")
	}
	if file == "" {
		return usagef("--permissions latest needs --catalog")
	}
	catalog, err := readCatalog(file)
	if err != nil {
		return err
	}
	draft := authz.Draft{Merchant: secret.Merchant, Description: secret.Description, Permissions: secret.Form().Permissions}
	fresh, err := draft.Secret(catalog, secret.CreatedAt)
	if err != nil {
		return fmt.Errorf("nothing was stored:\n%w", err)
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
	secret.Grants, secret.Catalog = fresh.Grants, fresh.Catalog
	return s.SaveCatalog(c.ctx, catalog)
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
