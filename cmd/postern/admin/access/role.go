// Package access says who may use the management API and its page: tokens of a
// file, tokens of an OIDC issuer, and the sessions of browsers.
package access

import (
	"fmt"
	"strings"
	"time"

	"github.com/postern/postern/authz"
)

// Role is what somebody may do. Its zero value may do nothing.
type Role struct {
	kind     string
	merchant string // of kind merchant
}

// The roles that are not one merchant's.
var (
	Operator = Role{kind: "operator"} // all
	Viewer   = Role{kind: "viewer"}   // reads all
)

// Merchant is the role that reads and writes what is one merchant's.
func Merchant(id string) Role { return Role{"merchant", id} }

// ParseRole reads operator, viewer or merchant:ID.
func ParseRole(text string) (Role, error) {
	kind, id, _ := strings.Cut(text, ":")
	switch r := (Role{kind: kind}); {
	case text == "operator" || text == "viewer":
		return r, nil
	case kind == "merchant":
		if err := authz.CheckMerchant(id); err != nil {
			return Role{}, fmt.Errorf("role %q: %w", text, err)
		}
		return Merchant(id), nil
	}
	return Role{}, fmt.Errorf("role %q: write operator, viewer or merchant:ID", text)
}

// String is the role as ParseRole reads it.
func (r Role) String() string {
	if r.kind == "merchant" {
		return r.kind + ":" + r.merchant
	}
	return r.kind
}

// Sees reports whether the role may know of a merchant's things.
func (r Role) Sees(merchant string) bool {
	return r == Operator || r == Viewer || r.kind == "merchant" && r.merchant == merchant
}

// Changes reports whether the role may make and delete a merchant's secrets.
func (r Role) Changes(merchant string) bool { return r != Viewer && r.Sees(merchant) }

// Only is the merchant that the role is confined to, or "".
func (r Role) Only() string { return r.merchant }

// Identity is somebody who was recognised.
type Identity struct {
	Name  string // of the token, or the subject of the issuer's
	Role  Role
	Until time.Time // zero: no end of its own

	digest [32]byte // of a token of the file
}
