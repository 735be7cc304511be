package admin

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cmd/postern/admin/desk"
)

// How the page spells moments, all in UTC. The first is said to be where it
// stands.
const (
	toTheSecond = "02/01/2006 - 03:04:05 PM"
	toTheMinute = "02/01/2006 - 03:04 PM UTC"
)

// secretView is a secret as pages show it.
type secretView struct {
	authz.Form
	Legacy   bool
	Created  string
	Expires  string
	Expired  bool
	LastUsed string
	Idle     bool // not used for so long that it is worth a word
	Requests int64
	Safety   string // whether it is safe to delete
	Safe     bool
	Newer    []newerView
}

// Path is where the secret's pages are.
func (v secretView) Path() string { return pageOf(v.Merchant) + "/" + v.ID }

// newerView is what came to the API after a secret was made.
type newerView struct {
	ID, Label string
	Endpoints []string
	Whole     bool // the permission is new
}

// viewsOf shows secrets with their use, and what came after them.
func (s *server) viewsOf(ctx context.Context, secrets ...*authz.Secret) ([]secretView, error) {
	forms, err := s.desk.Store.Forms(ctx, secrets...)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	newer := map[string][]newerView{} // by hash of a catalog
	views := make([]secretView, len(secrets))
	for i, secret := range secrets {
		if _, ok := newer[secret.Catalog]; !ok {
			found, err := s.desk.NewerThan(ctx, secret)
			if err != nil {
				return nil, err
			}
			newer[secret.Catalog] = newerViews(found)
		}
		views[i] = viewOf(forms[i], now)
		if views[i].Legacy = secret.Unrestricted; !secret.Unrestricted {
			views[i].Newer = newer[secret.Catalog]
		}
	}
	return views, nil
}

func newerViews(all []desk.Newer) (views []newerView) {
	for _, n := range all {
		views = append(views, newerView{n.Permission.ID, n.Permission.Label, n.Endpoints, n.Whole})
	}
	return views
}

func viewOf(f authz.Form, now time.Time) secretView {
	v := secretView{Form: f, Created: f.CreatedAt.UTC().Format(toTheSecond), Expires: "Never"}
	if f.ExpiresAt != nil {
		v.Expires, v.Expired = f.ExpiresAt.UTC().Format(toTheSecond)+" UTC", !now.Before(*f.ExpiresAt)
	}
	v.LastUsed, v.Idle = describeUse(f.CreatedAt, f.LastUsedAt.Time, now)
	v.Requests = f.Usage.Requests
	v.Safety, v.Safe = describeSafety(*f.Usage), f.Usage.Safe
	return v
}

// describeUse says when something was last used, and whether that is long ago.
func describeUse(created, last, now time.Time) (text string, long bool) {
	idle, never := authz.Unused(created, last, now)
	days, long := int(idle.Hours()/24), idle >= authz.UnusedAfter
	switch {
	case never && long:
		return fmt.Sprintf("Never used in %d days", days), true
	case never:
		return "Never used", false
	case last.IsZero():
		return fmt.Sprintf("Not in the last %d days", days), true
	case long:
		return fmt.Sprintf("%s, unused for %d days", last.UTC().Format(toTheMinute), days), true
	}
	return last.UTC().Format(toTheMinute), false
}

// sayLastUsed is what describeUse says, where no label stands before it.
func sayLastUsed(text string) string {
	if strings.HasPrefix(text, "Never") {
		return text
	}
	return "Last used: " + text
}

// describeSafety says whether a secret can be deleted, or what to wait for.
func describeSafety(u authz.UsageForm) string {
	switch {
	case u.Sidecars == 0:
		return "It cannot be told whether it is still in use: no gateway has reported."
	case len(u.Missing) > 0:
		return fmt.Sprintf("It cannot be told whether it is still in use: the reports of %d of %d gateways are not in (%s).", len(u.Missing), u.Sidecars, strings.Join(u.Missing, ", "))
	case !u.Safe:
		return fmt.Sprintf("It is safe to delete from %s on, if it is not used until then.", u.SafeFrom.UTC().Format(toTheMinute))
	}
	return fmt.Sprintf("It is safe to delete: all %d gateways say that it was not used for %d hours.", u.Sidecars, int(authz.Quiet.Hours()))
}

// permissionView is a checkbox and what is nested under it.
type permissionView struct {
	ID, Label string
	Ticked    bool
	Endpoints []string
	Fields    []fieldView
	LastUsed  string // of a secret that has it
	Idle      bool
	Newer     string // what the secret lacks, if it predates it
}

type fieldView struct {
	Value, Label string // Value: permission+group
	Ticked       bool
}

// permissionsFor are the checkboxes of the catalog, in its order, as choices
// tick them. One that is chosen and not in the catalog stands at the end.
func permissionsFor(c *authz.Catalog, choices []authz.Choice) (views []permissionView) {
	for _, p := range c.Permissions {
		i := slices.IndexFunc(choices, func(o authz.Choice) bool { return o.ID == p.ID })
		if p.Retired && i < 0 {
			continue
		}
		v := permissionView{ID: p.ID, Label: p.Label, Ticked: i >= 0}
		for _, e := range p.Endpoints {
			if !e.Retired || v.Ticked {
				v.Endpoints = append(v.Endpoints, e.String())
			}
		}
		for _, g := range p.Fields {
			v.Fields = append(v.Fields, fieldView{p.ID + "+" + g.ID, g.Label, i >= 0 && slices.Contains(choices[i].Fields, g.ID)})
		}
		views = append(views, v)
	}
	for _, choice := range choices {
		if c.Permission(choice.ID) == nil {
			views = append(views, permissionView{ID: choice.ID, Label: choice.ID, Ticked: true, Newer: "No longer in the API: it opens nothing."})
		}
	}
	return views
}

// ticked are the values of the ticks that are set.
func ticked(views []permissionView) (values []string) {
	for _, p := range views {
		if p.Ticked {
			values = append(values, p.ID)
		}
		for _, f := range p.Fields {
			if f.Ticked {
				values = append(values, f.Value)
			}
		}
	}
	return values
}

// usesOf are the permissions that a legacy secret was used for: those that one
// in its place would need.
func (s *server) usesOf(v secretView) (views []permissionView) {
	if !v.Legacy {
		return nil
	}
	for _, id := range slices.Sorted(maps.Keys(v.Usage.Permissions)) {
		use := permissionView{ID: id, Label: id}
		if p := s.desk.Catalog().Permission(id); p != nil {
			use.Label = p.Label
		} else if id == authz.AnyPath {
			use.Label = "Paths that are not in the list of permissions"
		}
		use.LastUsed, use.Idle = describeUse(v.CreatedAt, v.Usage.Permissions[id], time.Now())
		views = append(views, use)
	}
	return views
}

// sentence makes a sentence of an error's text.
func sentence(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	return string(unicode.ToUpper(first)) + text[size:] + "."
}
