//go:build !race

package authz

import (
	"fmt"
	"testing"
	"time"
)

// asked is a keyring, a token of it, a catalog of n operations, a secret with
// ten grants of it, and a request for the last of them.
func asked(t testing.TB, n int) (*Keyring, Token, *Catalog, *Secret, Request) {
	t.Helper()
	var operations []Operation
	for i := range n {
		operations = append(operations, Operation{ID: fmt.Sprint("op", i), Method: "GET", Path: fmt.Sprintf("/api/3/things%d/{id}/parts", i), Line: 1})
	}
	c, err := Compile(operations)
	if err != nil {
		t.Fatal(err)
	}
	s := Secret{Merchant: "m-1", AllowIPs: nil, ExpiresAt: time.Now().Add(time.Hour)}
	for i := range 10 {
		s.Grants = append(s.Grants, NewGrant(&c.Permissions[n-10+i], nil))
	}
	k, err := NewKeyring("")
	if err != nil {
		t.Fatal(err)
	}
	token, digest, err := k.Mint()
	if err != nil {
		t.Fatal(err)
	}
	s.ID = digest.ID()
	return k, token, c, NewSecret(s), Request{Method: "GET", Path: fmt.Sprintf("/api/3/things%d/PP123456/parts", n-1), Host: "api.example.com"}
}

// TestDecisionAllocates demands that a decision allocates nothing: neither the
// look-up of a token nor the match of a path.
func TestDecisionAllocates(t *testing.T) {
	k, token, c, s, r := asked(t, 100)
	now := time.Now()
	allocations := testing.AllocsPerRun(1000, func() {
		if _, reason := k.Lookup(token); reason != Undecided {
			t.Fatal(reason)
		}
		if v := s.Authorize(c.Resolve(r), now); v.Reason != Granted {
			t.Fatal(v.Reason)
		}
	})
	if allocations > 0 {
		t.Errorf("a decision allocates %v times, want 0", allocations)
	}
}

func BenchmarkLookup(b *testing.B) {
	k, token, _, _, _ := asked(b, 10)
	b.ReportAllocs()
	for b.Loop() {
		k.Lookup(token)
	}
}

// BenchmarkAuthorize measures that the size of a catalog costs nothing.
func BenchmarkAuthorize(b *testing.B) {
	for _, n := range []int{10, 100, 1000, 10_000} {
		_, _, c, s, r := asked(b, n)
		now := time.Now()
		b.Run(fmt.Sprint(n, "operations"), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				s.Authorize(c.Resolve(r), now)
			}
		})
	}
}
