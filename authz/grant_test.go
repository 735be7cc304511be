package authz

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// A grant of a permission does not hold what is retired of it.
func TestRetiredIsNotGranted(t *testing.T) {
	c, err := Compile([]Operation{
		{ID: "get", Method: "GET", Path: "/a/{x}", Permission: "p"}, {ID: "old", Method: "GET", Path: "/old/{x}", Permission: "p", Retired: true},
	})
	if err != nil {
		t.Fatal(err)
	}
	grant := NewGrant(c.Permission("p"), nil)
	if len(grant.Endpoints) != 1 || grant.Endpoints[0].Path != "/a/{x}" {
		t.Errorf("granted endpoints = %v, want the one that is not retired", grant.Endpoints)
	}
	s := NewSecret(Secret{Grants: []Grant{grant}})
	for path, want := range map[string]Reason{"/a/1": Granted, "/old/1": NotGranted} {
		if got := s.Authorize(c.Resolve(Request{Method: "GET", Path: path}), time.Now()).Reason; got != want {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
}

// An address that is allowed opens nothing.
func TestAllowedAddressIsNoGrant(t *testing.T) {
	c := compile(t, "GET /a", "GET /b")
	s := NewSecret(Secret{Grants: []Grant{NewGrant(c.Permission("GET_/a"), nil)}, AllowIPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}})
	for path, want := range map[string]Reason{"/a": Granted, "/b": NotGranted, "/c": NotCatalogued} {
		if got := s.Authorize(c.Resolve(Request{Method: "GET", Path: path, Address: netip.MustParseAddr("192.0.2.7")}), time.Now()).Reason; got != want {
			t.Errorf("%s = %v, want %v", path, got, want)
		}
	}
}

// What must go is told in one order, whatever order the record holds it in.
func TestRemovalsAreSorted(t *testing.T) {
	groups := map[string][]string{}
	for _, id := range []string{"e", "d", "c", "b", "a"} {
		groups[id] = []string{"$." + id}
	}
	c := compile(t, "GET /a")
	s := NewSecret(Secret{Grants: []Grant{{Permission: "p", Endpoints: []GrantedEndpoint{{Method: "GET", Path: "/a", Groups: groups}}}}})
	for range 10 {
		if got := s.Authorize(c.Resolve(Request{Method: "GET", Path: "/a", Filter: true}), time.Now()).Remove; !slices.IsSorted(got) || len(got) != 5 {
			t.Errorf("remove %v, want five in order", got)
		}
	}
}
