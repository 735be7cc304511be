package authz

import (
	"encoding/json"
	"time"
)

// AnyPath stands for a permission where a legacy secret was used on a path
// that is in no catalog.
const AnyPath = "*"

const (
	// UsageKept is how long a use is remembered at least. Of an older secret
	// without a known use it cannot be said that it was never used.
	UsageKept = 400 * 24 * time.Hour

	// UnusedAfter is how long a permission that was granted has gone without a
	// use when it is worth a word.
	UnusedAfter = 30 * 24 * time.Hour

	// Quiet is how long a secret must have gone without a use before it counts
	// as safe to delete.
	Quiet = 24 * time.Hour
)

// Usage is what is known of a secret's use. Its zero value: of none.
type Usage struct {
	Permissions map[string]time.Time // the minute of the last use, by permission id or AnyPath
	Requests    int64                // allowed in this hour of the clock and the 24 before it, about
}

// IsPermission reports whether id may be that of a permission, or is AnyPath.
func IsPermission(id string) bool { return id == AnyPath || isName(id) }

// Last is the minute of the last use of all, or zero.
func (u Usage) Last() time.Time {
	var last time.Time
	for _, at := range u.Permissions {
		if at.After(last) {
			last = at
		}
	}
	return last
}

// LastUse is the minute of a last use. As JSON its zero value is null: no use
// is known.
type LastUse struct{ time.Time }

// MarshalJSON is RFC 3339, or null.
func (l LastUse) MarshalJSON() ([]byte, error) {
	if l.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(l.Time)
}

// Unused says how long, as of now, something that was granted at created and
// last used at last, if ever, has not been used. never tells that it never
// was; where it does not, and last is zero, it was not for UsageKept.
func Unused(created, last, now time.Time) (idle time.Duration, never bool) {
	switch {
	case !last.IsZero():
		return max(now.Sub(last), 0), false
	case now.Sub(created) < UsageKept:
		return max(now.Sub(created), 0), true
	}
	return UsageKept, false
}
