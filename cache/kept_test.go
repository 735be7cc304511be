package cache

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

// one is the look-up of a token that was minted here.
var one = authz.Lookup{Digest: authz.Digest{1}, Minted: true}

// read is the read of a flight that finds a secret of this merchant.
func read(l authz.Lookup, merchant string) func() (*authz.Secret, error) {
	return func() (*authz.Secret, error) {
		return authz.NewSecret(authz.Secret{ID: l.Digest.ID(), Merchant: merchant}), nil
	}
}

func TestPanicDenies(t *testing.T) {
	c := New(nil, Options{})
	secret, err := c.fill(t.Context(), one, func() (*authz.Secret, error) { panic("a fault of ours") })
	if secret != nil || !errors.Is(err, authz.Internal) || !strings.Contains(err.Error(), "a fault of ours") {
		t.Errorf("fill that panics = %v, %v, want an internal error that tells it", secret, err)
	}
	if len(c.kept.flights) != 0 || c.Len() != 0 {
		t.Errorf("flights, kept = %d, %d after a panic, want none", len(c.kept.flights), c.Len())
	}
	if secret, err := c.fill(t.Context(), one, read(one, "m")); err != nil || secret.Merchant != "m" {
		t.Errorf("fill after a panic = %v, %v, want the secret", secret, err)
	}
}

// One that missed before a read ended, and asks after it, has no need of
// another, where the log is confirmed.
func TestFillLooksAgain(t *testing.T) {
	c := New(nil, Options{LagLimit: time.Hour})
	c.fresh.prove(time.Now())
	if _, err := c.fill(t.Context(), one, read(one, "first")); err != nil {
		t.Fatal(err)
	}
	if secret, err := c.fill(t.Context(), one, read(one, "second")); err != nil || secret.Merchant != "first" {
		t.Errorf("second fill = %v, %v, want what the first one read", secret, err)
	}
	c.fresh.gap()
	if secret, err := c.fill(t.Context(), one, read(one, "third")); err != nil || secret.Merchant != "third" {
		t.Errorf("control: fill after a gap = %v, %v, want what it read", secret, err)
	}
}

func TestFailureIsNotKept(t *testing.T) {
	c := New(nil, Options{})
	fail := func() (*authz.Secret, error) { return nil, authz.RecordMissing }
	if _, err := c.fill(t.Context(), one, fail); !errors.Is(err, authz.RecordMissing) {
		t.Errorf("fill that fails = %v, want %v", err, authz.RecordMissing)
	}
	if secret, err := c.fill(t.Context(), one, read(one, "m")); err != nil || secret.Merchant != "m" {
		t.Errorf("fill after a failure = %v, %v, want the secret", secret, err)
	}
}

// The least recently used go first, and at least as many stay as were asked
// for.
func TestSizeIsBounded(t *testing.T) {
	keys, err := authz.NewKeyring("")
	if err != nil {
		t.Fatal(err)
	}
	const size = 3200
	c := New(nil, Options{Size: size})
	var digests []authz.Digest
	for i := range 3 * size {
		_, d, err := keys.Mint()
		if err != nil {
			t.Fatal(err)
		}
		l := authz.Lookup{Digest: d, Minted: true}
		if _, err := c.fill(t.Context(), l, read(l, "m")); err != nil {
			t.Fatal(err)
		}
		if i < 10 || i >= 3*size-10 {
			digests = append(digests, d)
		}
		for _, d := range digests[:min(5, len(digests))] { // five are in use all the time
			c.kept.get(keyOf(d))
		}
	}
	if got := c.Len(); got != size {
		t.Errorf("kept = %d, want %d", got, size)
	}
	for i, d := range digests {
		_, kept := c.kept.get(keyOf(d))
		if used := i < 5 || i >= 10; kept != used {
			t.Errorf("digest %d is kept: %v, want %v", i, kept, used)
		}
	}
}
