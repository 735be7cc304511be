package main

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
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
	err := c.printForm(asJSON, form)
	if err != nil && form.Secret != "" {
		return fmt.Errorf("show secret %s, which was made: %w: delete it, and make another", s.ID, err)
	}
	return err
}

func (c *call) printForm(asJSON bool, form authz.Form) error {
	if asJSON {
		return c.printJSON(form)
	}
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	if form.Secret != "" {
		fmt.Fprintf(w, "secret\t%s\t(copy it now: it is shown this once)\n", form.Secret)
	}
	fmt.Fprintf(w, "redacted\t%s\nid\t%s\nmerchant\t%s\ndescription\t%s\n", form.Redacted, form.ID, form.Merchant, form.Description)
	fmt.Fprintf(w, "permissions\t%s\nallowed IPs\t%s\ncreated\t%s\nexpires\t%s\n",
		describePermissions(form), cmp.Or(strings.Join(form.AllowIPs, ", "), "any"), form.CreatedAt.Format(time.RFC3339), describeExpiry(form))
	if form.Usage != nil {
		printUsage(w, form)
	}
	return w.Flush()
}

func (c *call) printList(asJSON bool, forms []authz.Form) error {
	if asJSON {
		return c.printJSON(map[string]any{"secrets": forms})
	}
	w := tabwriter.NewWriter(c.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "API SECRET\tDESCRIPTION\tPERMISSIONS\tCREATED\tEXPIRES\tLAST USED\tID")
	for _, f := range forms {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", f.Redacted, f.Description, describePermissions(f),
			f.CreatedAt.Format(time.RFC3339), describeExpiry(f), describeUse(f, f.LastUsedAt.Time), f.ID)
	}
	return w.Flush()
}

func describePermissions(f authz.Form) string {
	if len(f.Permissions) == 0 {
		return "every endpoint"
	}
	var parts []string
	for _, p := range f.Permissions {
		parts = append(parts, strings.Join(append([]string{p.ID}, p.Fields...), "+"))
	}
	return strings.Join(parts, ", ")
}

func describeExpiry(f authz.Form) string {
	switch {
	case f.ExpiresAt == nil:
		return "never"
	case !time.Now().Before(*f.ExpiresAt):
		return f.ExpiresAt.Format(time.RFC3339) + " (expired)"
	}
	return f.ExpiresAt.Format(time.RFC3339)
}

// printUsage prints what is known of a secret's use.
func printUsage(w io.Writer, f authz.Form) {
	fmt.Fprintf(w, "last used\t%s\n", describeUse(f, f.LastUsedAt.Time))
	for _, p := range f.Permissions {
		fmt.Fprintf(w, "  %s\t%s\n", p.ID, describeUse(f, p.LastUsedAt.Time))
	}
	if len(f.Permissions) == 0 {
		for _, id := range slices.Sorted(maps.Keys(f.Usage.Permissions)) {
			fmt.Fprintf(w, "  %s\t%s\n", id, describeUse(f, f.Usage.Permissions[id]))
		}
	}
	fmt.Fprintf(w, "requests\tabout %d in the last 24 hours\nsafe to delete\t%s\n", f.Usage.Requests, describeSafety(*f.Usage))
}

// describeUse says when a secret, or a permission of it, was last used.
func describeUse(f authz.Form, last time.Time) string {
	idle, never := authz.Unused(f.CreatedAt, last, time.Now())
	when := last.Format(time.RFC3339)
	if last.IsZero() {
		when = "never used"
	}
	days := int(idle.Hours() / 24)
	switch {
	case last.IsZero() && !never:
		return fmt.Sprintf("not in the last %d days", days)
	case idle >= authz.UnusedAfter:
		return fmt.Sprintf("%s (unused for %d days)", when, days)
	}
	return when
}

// describeSafety says whether a secret can be deleted, or what to wait for.
func describeSafety(u authz.UsageForm) string {
	switch {
	case u.Sidecars == 0:
		return "cannot be told: no sidecar has reported"
	case len(u.Missing) > 0:
		return fmt.Sprintf("cannot be told: the reports of %d of %d sidecars are not in: %s", len(u.Missing), u.Sidecars, strings.Join(u.Missing, ", "))
	case !u.Safe:
		return fmt.Sprintf("from %s on, if it is not used until then", u.SafeFrom.Format(time.RFC3339))
	}
	return fmt.Sprintf("yes: not used for %d hours, as far as %d of %d sidecars have reported", int(authz.Quiet.Hours()), u.Sidecars, u.Sidecars)
}
