package authz

import "errors"

// Reason says why a verdict is what it is: a closed set, for logs and metrics.
// As an error it says why a secret could not be had. The zero Reason is
// Undecided and denies.
type Reason uint8

// Every reason. Undecided is a programming fault, and shown as Internal.
const (
	Undecided Reason = iota
	Granted
	Unrestricted
	NoSecret
	Malformed
	Unknown
	Deleted
	Expired
	NotGranted
	NotCatalogued
	IPNotAllowed
	AddressMissing
	StoreUnavailable
	RecordMissing
	RecordInvalid
	FilterMissing
	Overloaded
	Internal
)

// Decision is what becomes of a request. The zero Decision is Fail.
type Decision uint8

// The decisions.
const (
	Fail            Decision = iota // the gate cannot know: 503
	Unauthenticated                 // no secret that is good: 401
	Forbidden                       // a known secret may not: 403
	Allow
)

var reasons = [...]struct {
	name     string
	decision Decision
}{
	Undecided:        {"internal", Fail},
	Granted:          {"granted", Allow},
	Unrestricted:     {"unrestricted", Allow},
	NoSecret:         {"no_secret", Unauthenticated},
	Malformed:        {"malformed", Unauthenticated},
	Unknown:          {"unknown", Unauthenticated},
	Deleted:          {"deleted", Unauthenticated},
	Expired:          {"expired", Unauthenticated},
	NotGranted:       {"not_granted", Forbidden},
	NotCatalogued:    {"not_catalogued", Forbidden},
	IPNotAllowed:     {"ip_not_allowed", Forbidden},
	AddressMissing:   {"address_missing", Fail},
	StoreUnavailable: {"store_unavailable", Fail},
	RecordMissing:    {"record_missing", Fail},
	RecordInvalid:    {"record_invalid", Fail},
	FilterMissing:    {"filter_missing", Fail},
	Overloaded:       {"overloaded", Fail},
	Internal:         {"internal", Fail},
}

// Reasons lists every reason that a verdict may carry.
func Reasons() []Reason {
	var all []Reason
	for r := Granted; r <= Internal; r++ {
		all = append(all, r)
	}
	return all
}

// String is the reason's name in metadata, logs and metrics.
func (r Reason) String() string {
	if int(r) >= len(reasons) {
		return Internal.String()
	}
	return reasons[r].name
}

// Error is the reason's name.
func (r Reason) Error() string { return r.String() }

// Decision is what the reason makes of a request.
func (r Reason) Decision() Decision {
	if int(r) >= len(reasons) {
		return Fail
	}
	return reasons[r].decision
}

// String is the decision in metadata: `allow`, `deny` or `error`.
func (d Decision) String() string {
	switch d {
	case Allow:
		return "allow"
	case Unauthenticated, Forbidden:
		return "deny"
	}
	return "error"
}

// Verdict is the gate's answer to one request. The zero Verdict denies.
type Verdict struct {
	Reason   Reason
	Merchant string // "" where no secret was found
	SecretID string // likewise

	// Endpoints are those that the request needs a grant for, whether or not
	// it came so far: one, or each that an ambiguous path may be taken for.
	// Nil where it is in no catalog.
	Endpoints []*Endpoint

	// Remove holds the JSONPaths that must go from the answer; only where the
	// request is allowed, or would be if the route had the response filter.
	Remove []string

	// Media are types of answers that hold no such data, by the catalog: they
	// pass as they are. Only where there is something to remove.
	Media []string
}

// Permissions are the ids of the permissions that the request needs.
func (v Verdict) Permissions() []string {
	var ids []string
	for _, e := range v.Endpoints {
		ids = appendNew(ids, e.Permission)
	}
	return ids
}

// ReasonOf finds the reason in an error: Undecided in nil, Internal where the
// error holds none.
func ReasonOf(err error) Reason {
	switch r, ok := errors.AsType[Reason](err); {
	case err == nil:
		return Undecided
	case ok:
		return r
	}
	return Internal
}
