package authz

import (
	"errors"
	"fmt"
	"testing"
)

func TestReasons(t *testing.T) {
	seen := map[string]bool{}
	for _, r := range Reasons() {
		if seen[r.String()] || r.String() == "" {
			t.Errorf("reason %d is called %q, like another", r, r)
		}
		seen[r.String()] = true
	}
	if len(seen) != 17 || Undecided.Decision() != Fail || Undecided.String() != "internal" {
		t.Errorf("%d reasons, and undecided makes %v: want the 17 of the contract, and an error", len(seen), Undecided.Decision())
	}
}

// What each reason makes of a request, as the contract has it.
func TestDecisions(t *testing.T) {
	want := map[Decision][]Reason{
		Allow:           {Granted, Unrestricted},
		Unauthenticated: {NoSecret, Malformed, Unknown, Deleted, Expired},
		Forbidden:       {NotGranted, NotCatalogued, IPNotAllowed},
		Fail:            {Undecided, AddressMissing, StoreUnavailable, RecordMissing, RecordInvalid, FilterMissing, Overloaded, Internal, Internal + 1, 255},
	}
	for decision, reasons := range want {
		for _, r := range reasons {
			if got := r.Decision(); got != decision {
				t.Errorf("%v (%d) makes %v, want %v", r, r, got, decision)
			}
		}
	}
	if got := (Internal + 1).String(); got != "internal" {
		t.Errorf("a reason that is none is %q, want internal", got)
	}
	for err, want := range map[error]Reason{nil: Undecided, errors.New("x"): Internal, Expired: Expired, fmt.Errorf("x: %w", Unknown): Unknown} {
		if got := ReasonOf(err); got != want {
			t.Errorf("ReasonOf(%v) = %v, want %v", err, got, want)
		}
	}
	for decision, name := range map[Decision]string{Allow: "allow", Unauthenticated: "deny", Forbidden: "deny", Fail: "error", 255: "error"} {
		if got := decision.String(); got != name {
			t.Errorf("decision %d is %q, want %q", decision, got, name)
		}
	}
}
