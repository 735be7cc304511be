package authz

import "time"

// Form is a secret as the command line and the management API show it.
type Form struct {
	ID          string      `json:"id"`
	Secret      string      `json:"secret,omitempty"` // the token; only in the answer of its creation
	Merchant    string      `json:"merchant"`
	Description string      `json:"description"`
	Permissions []Permitted `json:"permissions"` // none: a legacy secret, which opens every endpoint
	AllowIPs    []string    `json:"allow_ips"`
	ExpiresAt   *time.Time  `json:"expires_at"` // null: never
	CreatedAt   time.Time   `json:"created_at"`
	Redacted    string      `json:"redacted"`

	// What is known of its use; nil in the answer of its creation.
	LastUsedAt *LastUse   `json:"last_used_at,omitempty"`
	Usage      *UsageForm `json:"usage,omitempty"`
}

// Permitted is a permission of a Form.
type Permitted struct {
	Choice
	LastUsedAt *LastUse `json:"last_used_at,omitempty"` // nil like the Form's
}

// UsageForm says how much a secret is used, and whether it can go.
type UsageForm struct {
	Permissions map[string]time.Time `json:"permissions"`  // see Usage; of a legacy secret, what a new one in its place would need
	Requests    int64                `json:"requests_24h"` // see Usage

	// Safe tells that it was not used for Quiet, and that every sidecar's
	// report of that is in.
	Safe     bool      `json:"safe_to_delete"`
	SafeFrom time.Time `json:"safe_to_delete_from"` // where it is not used again, and all reports come in
	Sidecars int       `json:"sidecars"`            // that run, or may still
	Missing  []string  `json:"missing_reports"`     // the names of those whose reports are not in
}

// Form shows the secret. No list in it is nil.
func (s *Secret) Form() Form {
	f := Form{
		ID: s.ID, Merchant: s.Merchant, Description: s.Description, CreatedAt: s.CreatedAt, Redacted: s.Redacted,
		Permissions: []Permitted{}, AllowIPs: []string{},
	}
	for _, c := range s.Choices() {
		f.Permissions = append(f.Permissions, Permitted{Choice: c})
	}
	for _, p := range s.AllowIPs {
		f.AllowIPs = append(f.AllowIPs, p.String())
	}
	if !s.ExpiresAt.IsZero() {
		f.ExpiresAt = &s.ExpiresAt
	}
	return f
}

// Choices are what was ticked for the secret.
func (s *Secret) Choices() []Choice {
	choices := []Choice{}
	for _, g := range s.Grants {
		choices = append(choices, Choice{ID: g.Permission, Fields: append([]string{}, g.Fields...)})
	}
	return choices
}

// FormWith shows the secret with what is known of its use.
func (s *Secret) FormWith(u Usage) Form {
	f := s.Form()
	f.LastUsedAt = &LastUse{u.Last()}
	for i, p := range f.Permissions {
		f.Permissions[i].LastUsedAt = &LastUse{u.Permissions[p.ID]}
	}
	return f
}
