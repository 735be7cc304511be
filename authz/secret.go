package authz

import (
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Secret is an API secret: what its record says, never its text. It is made
// by [NewSecret], immutable, and safe for concurrent use. The zero Secret
// grants nothing.
type Secret struct {
	ID          string // the first 16 bytes of the digest, in hex
	Merchant    string
	Description string
	Redacted    string
	CreatedAt   time.Time
	ExpiresAt   time.Time      // zero: never
	AllowIPs    []netip.Prefix // empty: any address
	Catalog     string         // hash of the catalog it was issued under; "" of a legacy secret

	// Unrestricted marks a legacy secret. It has no grants.
	Unrestricted bool
	Grants       []Grant

	// DeletedAt is zero while the secret lives. A tombstone has ID, Merchant,
	// Redacted and this.
	DeletedAt time.Time

	index *GrantIndex
}

// GrantIndex holds grants as a decision finds them. It is immutable, and shared
// by the secrets whose grants are equal: most merchants pick from a few sets.
type GrantIndex struct {
	grants     []Grant
	byEndpoint map[string][]granted // by method and template without names
}

// granted is what a secret says of one endpoint.
type granted struct {
	endpoint   *GrantedEndpoint
	permission string
	fields     []string // groups included
}

// covers reports whether a path of an endpoint of the catalog is also one of
// the endpoint as it was granted: its parameters may have been widened since.
func (g granted) covers(e *Endpoint, path string) bool {
	if maps.Equal(g.endpoint.Chars, e.Chars) {
		return true
	}
	t, err := parseTemplate(g.endpoint.Path, g.endpoint.Chars)
	return err == nil && t.matches(path)
}

// NewSecret makes a secret that can decide from what its record says.
func NewSecret(record Secret) *Secret {
	if len(record.Grants) == 0 {
		return &record
	}
	return NewGrantIndex(record.Grants).Secret(record)
}

// NewGrantIndex is an index of grants, which must not change any more.
func NewGrantIndex(grants []Grant) *GrantIndex {
	index := &GrantIndex{grants, map[string][]granted{}}
	for _, g := range grants {
		for i := range g.Endpoints {
			e := &g.Endpoints[i]
			key := e.Method + " " + templateKey(e.Path)
			index.byEndpoint[key] = append(index.byEndpoint[key], granted{e, g.Permission, g.Fields})
		}
	}
	return index
}

// Grants are the grants of the index.
func (i *GrantIndex) Grants() []Grant { return i.grants }

// Secret is NewSecret of a record that has the grants of the index, whatever
// the record says of them.
func (i *GrantIndex) Secret(record Secret) *Secret {
	record.Grants, record.index = i.grants, i
	return &record
}

// granted is what the secret says of an endpoint of the catalog.
func (s *Secret) granted(e *Endpoint) []granted {
	if s.index == nil {
		return nil
	}
	return s.index.byEndpoint[e.key]
}

// Grant is a permission as it stood when the secret was issued.
type Grant struct {
	Permission string            `json:"permission"`
	Fields     []string          `json:"fields,omitempty"` // field groups included
	Endpoints  []GrantedEndpoint `json:"endpoints"`
}

// GrantedEndpoint is one endpoint of a grant, spelled out.
type GrantedEndpoint struct {
	Method string            `json:"method"`
	Path   string            `json:"path"`
	Chars  map[string]string `json:"chars,omitempty"` // x-postern-chars of its parameters, as they were

	// Groups holds the JSONPaths of every field group that the endpoint had,
	// included or not.
	Groups map[string][]string `json:"groups,omitempty"`
}

// NewGrant is a permission as it stands, with the given field groups included.
func NewGrant(p *Permission, groups []string) Grant {
	g := Grant{Permission: p.ID, Fields: slices.Sorted(slices.Values(groups))}
	for _, e := range p.Endpoints {
		if e.Retired {
			continue
		}
		granted := GrantedEndpoint{Method: e.Method, Path: e.Path, Chars: e.Chars}
		for _, group := range e.Fields {
			if granted.Groups == nil {
				granted.Groups = map[string][]string{}
			}
			granted.Groups[group.ID] = group.Paths
		}
		g.Endpoints = append(g.Endpoints, granted)
	}
	return g
}

// Request is what the decision reads of a request.
type Request struct {
	Method  string
	Path    string     // without the query, as it came
	Host    string     // as it came; "" where there is none
	Address netip.Addr // of the client; invalid where unknown
	Filter  bool       // the route says that it has the response filter

	Endpoints []*Endpoint // of the catalog, as Resolve finds them; nil: it has none
}

// oneHost reports whether the request names one host at most. Envoy joins two
// Host fields with a comma.
func (r Request) oneHost() bool { return !strings.Contains(r.Host, ",") }

// Authorize decides on a request that a catalog has resolved. A nil secret is
// unknown. Path and method are compared byte for byte.
func (s *Secret) Authorize(r Request, now time.Time) Verdict {
	if s == nil {
		return Verdict{Reason: Unknown}
	}
	v := Verdict{Merchant: s.Merchant, SecretID: s.ID, Endpoints: r.Endpoints}
	if v.Reason = s.refuse(r.Address, now); v.Reason != Undecided {
		return v
	}
	if s.Unrestricted {
		v.Reason = s.open(r)
		return v
	}
	v.Reason, v.Remove = s.grant(r)
	if len(v.Remove) > 0 {
		v.Media = sharedMedia(v.Endpoints)
	}
	return v
}

// refuse says why the secret may not be used at all, or Undecided.
func (s *Secret) refuse(address netip.Addr, now time.Time) Reason {
	switch {
	case !s.DeletedAt.IsZero():
		return Deleted
	case !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt):
		return Expired
	case len(s.AllowIPs) == 0:
		return Undecided
	case !address.IsValid():
		return AddressMissing
	}
	plain := address.Unmap().WithZone("")
	if !slices.ContainsFunc(s.AllowIPs, func(p netip.Prefix) bool { return p.Contains(plain) }) {
		return IPNotAllowed
	}
	return Undecided
}

// open decides for a legacy secret: every path that is well-formed or in the
// catalog, with any method that is a token (RFC 9110 section 5.6.2).
func (s *Secret) open(r Request) Reason {
	method := r.Method != "" && tokenChars.holds(r.Method)
	if method && r.oneHost() && (wellFormed(r.Path) || len(r.Endpoints) > 0) {
		return Unrestricted
	}
	return NotCatalogued
}

// grant decides for a secret with grants: each endpoint needs one, by method
// and template, whatever its permission is called today. It says what must go
// from the answer: what any of these grants leaves out.
func (s *Secret) grant(r Request) (Reason, []string) {
	if len(r.Endpoints) == 0 {
		return NotCatalogued, nil
	}
	var remove []string
	for _, e := range r.Endpoints {
		covered := false
		for _, g := range s.granted(e) {
			if g.covers(e, r.Path) {
				covered = true
				remove = appendNew(remove, g.removals(e)...)
			}
		}
		if !covered {
			return NotGranted, nil
		}
	}
	if len(remove) > 0 && !r.Filter {
		return FilterMissing, remove
	}
	return Granted, remove
}

// removals are the JSONPaths that must go from an endpoint's answer. A path
// stays only if a group that the secret includes named it when the secret was
// issued, and no other group names it, then or now.
func (g granted) removals(e *Endpoint) []string {
	var named, kept, excluded []string
	for id, paths := range g.endpoint.Groups {
		named = append(named, paths...)
		if slices.Contains(g.fields, id) {
			kept = append(kept, paths...)
		} else {
			excluded = append(excluded, paths...)
		}
	}
	for _, group := range e.Fields {
		named = append(named, group.Paths...)
		if !slices.Contains(g.fields, group.ID) {
			excluded = append(excluded, group.Paths...)
		}
	}
	var remove []string
	for _, path := range named {
		if !slices.Contains(kept, path) || slices.Contains(excluded, path) {
			remove = appendNew(remove, path)
		}
	}
	slices.Sort(remove)
	return remove
}

// sharedMedia are the types that every endpoint names.
func sharedMedia(endpoints []*Endpoint) []string {
	var shared []string
	for _, media := range endpoints[0].Media {
		if !slices.ContainsFunc(endpoints[1:], func(e *Endpoint) bool { return !slices.Contains(e.Media, media) }) {
			shared = append(shared, media)
		}
	}
	return shared
}

// appendNew appends the items that are not there yet.
func appendNew[T comparable](to []T, items ...T) []T {
	for _, item := range items {
		if !slices.Contains(to, item) {
			to = append(to, item)
		}
	}
	return to
}

// PermissionOf is the id of the permission by which the secret opens an
// endpoint of the catalog: as it was granted or, of a legacy secret, as the
// catalog has it. "" where it does not.
func (s *Secret) PermissionOf(e *Endpoint) string {
	if s.Unrestricted {
		return e.Permission
	}
	if all := s.granted(e); len(all) > 0 {
		return all[0].permission
	}
	return ""
}
