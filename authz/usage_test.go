package authz

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

// A secret opens an endpoint by the permission that was granted, whatever the
// catalog calls it since.
func TestPermissionOf(t *testing.T) {
	compile := func(permission string) *Catalog {
		c, err := Compile([]Operation{
			{ID: "get", Permission: permission, Method: "GET", Path: "/orders/{n}"}, {ID: "put", Method: "PUT", Path: "/orders/{n}"},
		})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	was, is := compile("old"), compile("new")
	s := NewSecret(Secret{Grants: []Grant{NewGrant(was.Permission("old"), nil)}})
	legacy := NewSecret(Secret{Unrestricted: true})
	for _, tt := range []struct {
		secret           *Secret
		permission, want string
	}{{s, "new", "old"}, {s, "put", ""}, {legacy, "new", "new"}} {
		if got := tt.secret.PermissionOf(is.Permission(tt.permission).Endpoints[0]); got != tt.want {
			t.Errorf("what is now %s is opened by %q, want %q", tt.permission, got, tt.want)
		}
	}
}

func TestFormWithUse(t *testing.T) {
	at := time.Date(2026, 11, 25, 10, 3, 0, 0, time.UTC)
	s := NewSecret(Secret{ID: "x", Grants: []Grant{{Permission: "get"}, {Permission: "put"}}})
	f := s.FormWith(Usage{Permissions: map[string]time.Time{"get": at, "gone": at.Add(time.Hour)}})
	text, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"permissions":[{"id":"get","fields":[],"last_used_at":"2026-11-25T10:03:00Z"},{"id":"put","fields":[],"last_used_at":null}]`,
		`"redacted":"","last_used_at":"2026-11-25T11:03:00Z"}`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("form = %s, want %s in it", text, want)
		}
	}
	if text, _ := json.Marshal(s.Form()); strings.Contains(string(text), "last_used") || strings.Contains(string(text), "usage") {
		t.Errorf("form of a secret just made = %s, want nothing of its use", text)
	}
}

func TestUnused(t *testing.T) {
	now := time.Date(2026, 11, 25, 10, 0, 0, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	tests := []struct {
		name          string
		created, last time.Time
		idle          time.Duration
		never         bool
	}{
		{"never used", ago(time.Hour), time.Time{}, time.Hour, true},
		{"never, as far as is known", ago(UsageKept), time.Time{}, UsageKept, false},
		{"used", ago(2 * UsageKept), ago(time.Minute), time.Minute, false},
		{"a clock that is behind", ago(-time.Hour), ago(-time.Minute), 0, false},
		{"a clock that is behind, never used", ago(-time.Hour), time.Time{}, 0, true},
	}
	for _, tt := range tests {
		if idle, never := Unused(tt.created, tt.last, now); idle != tt.idle || never != tt.never {
			t.Errorf("%s: Unused = %v, %v, want %v, %v", tt.name, idle, never, tt.idle, tt.never)
		}
	}
}
