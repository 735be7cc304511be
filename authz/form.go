package authz

import "time"

// Form is a secret as the command line and the management API show it.
type Form struct {
	ID          string     `json:"id"`
	Secret      string     `json:"secret,omitempty"` // the token; only in the answer of its creation
	Merchant    string     `json:"merchant"`
	Description string     `json:"description"`
	Permissions []Choice   `json:"permissions"` // none: a legacy secret, which opens every endpoint
	AllowIPs    []string   `json:"allow_ips"`
	ExpiresAt   *time.Time `json:"expires_at"` // null: never
	CreatedAt   time.Time  `json:"created_at"`
	Redacted    string     `json:"redacted"`
}

// Form shows the secret. No list in it is nil.
func (s *Secret) Form() Form {
	f := Form{
		ID: s.ID, Merchant: s.Merchant, Description: s.Description, CreatedAt: s.CreatedAt, Redacted: s.Redacted,
		Permissions: []Choice{}, AllowIPs: []string{},
	}
	for _, g := range s.Grants {
		f.Permissions = append(f.Permissions, Choice{ID: g.Permission, Fields: append([]string{}, g.Fields...)})
	}
	for _, p := range s.AllowIPs {
		f.AllowIPs = append(f.AllowIPs, p.String())
	}
	if !s.ExpiresAt.IsZero() {
		f.ExpiresAt = &s.ExpiresAt
	}
	return f
}
