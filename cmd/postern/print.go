package main

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/postern/postern/authz"
)

// printSecret prints one secret, with its token if it was just minted. A token
// that could not be shown is lost.
func (c *call) printSecret(asJSON bool, token authz.Token, s *authz.Secret) error {
	form := s.Form()
	form.Secret = token.Reveal()
	var err error
	if asJSON {
		err = c.printJSON(form)
	} else {
		err = c.printForm(form, s)
	}
	if err != nil && form.Secret != "" {
		return fmt.Errorf("show secret %s, which was made: %w: delete it, and make another", s.ID, err)
	}
	return err
}

func (c *call) printForm(form authz.Form, s *authz.Secret) error {
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	if form.Secret != "" {
		fmt.Fprintf(w, "secret\t%s\t(copy it now: it is shown this once)\n", form.Secret)
	}
	fmt.Fprintf(w, "redacted\t%s\nid\t%s\nmerchant\t%s\ndescription\t%s\n", form.Redacted, form.ID, form.Merchant, form.Description)
	fmt.Fprintf(w, "permissions\t%s\nallowed IPs\t%s\ncreated\t%s\nexpires\t%s\n",
		describeGrants(s), orElse(strings.Join(form.AllowIPs, ", "), "any"), form.CreatedAt.Format(time.RFC3339), describeExpiry(s))
	return w.Flush()
}

func (c *call) printList(asJSON bool, secrets []*authz.Secret) error {
	if asJSON {
		forms := []authz.Form{}
		for _, s := range secrets {
			forms = append(forms, s.Form())
		}
		return c.printJSON(map[string]any{"secrets": forms})
	}
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "API SECRET\tDESCRIPTION\tPERMISSIONS\tCREATED\tEXPIRES\tID")
	for _, s := range secrets {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Redacted, s.Description, describeGrants(s), s.CreatedAt.Format(time.RFC3339), describeExpiry(s), s.ID)
	}
	return w.Flush()
}

func describeGrants(s *authz.Secret) string {
	if s.Unrestricted {
		return "every endpoint"
	}
	var parts []string
	for _, g := range s.Grants {
		parts = append(parts, strings.Join(append([]string{g.Permission}, g.Fields...), "+"))
	}
	return strings.Join(parts, ", ")
}

func describeExpiry(s *authz.Secret) string {
	switch {
	case s.ExpiresAt.IsZero():
		return "never"
	case !time.Now().Before(s.ExpiresAt):
		return s.ExpiresAt.Format(time.RFC3339) + " (expired)"
	}
	return s.ExpiresAt.Format(time.RFC3339)
}

func orElse(s, fallback string) string {
	if s == "" {
		return fallback
	}
	return s
}
