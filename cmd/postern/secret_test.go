package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

// The members of the form of a secret, of one just minted, and of one with its
// use.
var (
	formMembers   = []string{"allow_ips", "created_at", "description", "expires_at", "id", "merchant", "permissions", "redacted"}
	mintedMembers = append([]string{"secret"}, formMembers...)
	usedMembers   = append([]string{"last_used_at", "usage"}, formMembers...)
)

func TestFormOfSecret(t *testing.T) {
	s := newShell(t)
	legacy := s.form("merchant create m1")
	granted := s.create("--permission getOrder+shipping_price --permission createOrder")
	s.vars["LEGACY"], s.vars["GRANTED"] = legacy.ID, granted.ID
	tests := []struct {
		line    string
		members []string
	}{
		{"secret create --merchant m1 --description d --permission getOrder", mintedMembers},
		{"merchant create m2", mintedMembers},
		{"secret rotate $LEGACY", mintedMembers},
		{"secret rotate $GRANTED", mintedMembers},
		{"secret show $LEGACY", usedMembers},
		{"secret show $GRANTED", usedMembers},
		{"secret import --merchant m1 --description d --permission getOrder --sha256 " + strings.Repeat("0f", 32), formMembers},
	}
	for _, tt := range tests {
		members := s.members(tt.line)
		want := slices.Sorted(slices.Values(tt.members))
		if got := slices.Sorted(maps.Keys(members)); !slices.Equal(got, want) {
			t.Errorf("postern %s prints the members %v, want %v", tt.line, got, want)
		}
	}
	var list map[string][]map[string]any
	s.decode(s.ok("secret list --merchant m1 --json"), &list)
	if len(list) != 1 || len(list["secrets"]) != 6 {
		t.Errorf("secret list = %v, want the member secrets with six", list)
	}
	for _, members := range list["secrets"] {
		if got := slices.Sorted(maps.Keys(members)); !slices.Equal(got, slices.Sorted(slices.Values(usedMembers))) {
			t.Errorf("secret list prints the members %v, want %v", got, usedMembers)
		}
	}
	if got, want := s.ok("secret list --merchant nobody --json"), "{\n  \"secrets\": []\n}\n"; got != want {
		t.Errorf("secret list of a merchant without secrets = %q, want %q", got, want)
	}
}

// members runs a command line that prints one JSON object.
func (s *shell) members(line string) map[string]any {
	s.t.Helper()
	var members map[string]any
	s.decode(s.ok(line+" --json"), &members)
	if token, ok := members["secret"].(string); ok {
		s.watch(token, 1)
	}
	return members
}

// permitted are choices as a form shows them.
func permitted(choices ...authz.Choice) (all []authz.Permitted) {
	for _, c := range choices {
		all = append(all, authz.Permitted{Choice: c})
	}
	return all
}

// unused is a form without the secret's use.
func unused(f authz.Form) authz.Form {
	f.LastUsedAt, f.Usage = nil, nil
	for i := range f.Permissions {
		f.Permissions[i].LastUsedAt = nil
	}
	return f
}

func TestValuesOfForm(t *testing.T) {
	s := newShell(t)
	s.ok("key new --prefix shop_ $DIR/prefix.json")
	begun := time.Now().Truncate(time.Millisecond)
	plain := s.form("secret create --merchant m.1 --permission createOrder --permission getOrder+shipping_price --allow-ip 10.1.0.0/16 --allow-ip ::1 --expires 90d --description", "Größe “S”")
	idForm, redacted := regexp.MustCompile(`^[0-9a-f]{32}$`), plain.Secret[:4]+"**************"+plain.Secret[24:]
	if !idForm.MatchString(plain.ID) || len(plain.Secret) != 28 || plain.Redacted != redacted {
		t.Errorf("id = %q, secret = %q, redacted = %q, want 32 hex digits, 28 characters, %q", plain.ID, plain.Secret, plain.Redacted, redacted)
	}
	if plain.CreatedAt.Before(begun) || plain.CreatedAt.After(time.Now()) || plain.ExpiresAt == nil || plain.ExpiresAt.Sub(plain.CreatedAt) != 90*24*time.Hour {
		t.Errorf("created at %v, expires at %v, want now and 90 days later", plain.CreatedAt, plain.ExpiresAt)
	}
	want := authz.Form{
		ID: plain.ID, Merchant: "m.1", Description: "Größe “S”", CreatedAt: plain.CreatedAt, ExpiresAt: plain.ExpiresAt, Redacted: redacted,
		Permissions: permitted(authz.Choice{ID: "createOrder", Fields: []string{}}, authz.Choice{ID: "getOrder", Fields: []string{"shipping_price"}}),
		AllowIPs:    []string{"10.1.0.0/16", "::1/128"},
	}
	if got := unused(s.form("secret show", plain.ID)); !reflect.DeepEqual(got, want) {
		t.Errorf("secret show = %+v\nwant %+v", got, want)
	}
	legacy := s.members("merchant create m2")
	for member, want := range map[string]string{"permissions": "[]", "allow_ips": "[]", "expires_at": "null", "description": `"Legacy API Secret"`} {
		if got, _ := json.Marshal(legacy[member]); string(got) != want {
			t.Errorf("legacy secret: %s = %s, want %s", member, got, want)
		}
	}
}

// What people see: the token once, in create's answer only, and nothing of it later.
func TestTextOfSecret(t *testing.T) {
	s := newShell(t)
	s.ok("key new --prefix shop_ $DIR/prefix.json")
	s.env["POSTERN_KEY_FILE"] = s.dir + "/prefix.json"
	text := s.ok("secret create --merchant m1 --description d --permission getOrder+shipping_price --expires 2999-01-31T00:00:00+01:00")
	token := regexp.MustCompile(`(?m)^secret +(shop_\S{28}) +\(copy it now: it is shown this once\)$`).FindStringSubmatch(text)
	if token == nil {
		t.Fatalf("secret create prints no token:\n%s", text)
	}
	s.watch(token[1], 1)
	redacted := token[1][:9] + "**************" + token[1][29:]
	id := regexp.MustCompile(`(?m)^id +(\S+)$`).FindStringSubmatch(text)[1]
	for _, line := range []string{"secret list --merchant m1", "secret show " + id} {
		text := s.ok(line)
		for _, want := range []string{redacted, id, "getOrder+shipping_price", "2999-01-30T23:00:00Z"} {
			if !strings.Contains(text, want) {
				t.Errorf("postern %s lacks %q:\n%s", line, want, text)
			}
		}
	}
	if got := s.ok("merchant create m2"); !strings.Contains(got, "every endpoint") {
		t.Errorf("merchant create = %s", got)
	} else {
		s.watch(regexp.MustCompile(`shop_\S{28}`).FindString(got), 1)
	}
}

// deleteForm is what secret delete prints.
type deleteForm struct {
	ID        string    `json:"id"`
	Merchant  string    `json:"merchant"`
	DeletedAt time.Time `json:"deleted_at"`

	Sidecars json.RawMessage `json:"sidecars"` // TestFaultsOfDelete reads it
}

func TestSecretDelete(t *testing.T) {
	s := newShell(t)
	legacy := s.form("merchant create m1")
	byID, byToken := s.create("--permission getOrder"), s.create("--permission getOrder")
	s.vars["ID"] = byID.ID
	var first, again deleteForm
	s.decode(s.ok("secret delete $ID --json"), &first)
	if first.ID != byID.ID || first.Merchant != "m1" || time.Since(first.DeletedAt) > time.Minute {
		t.Errorf("secret delete = %+v, want %s of m1, now", first, byID.ID)
	}
	s.ask("DEL", "{postern}:log") // it is announced each time
	stored := s.dump()
	if s.decode(s.ok("secret delete $ID --json"), &again); again.ID != first.ID || again.DeletedAt != first.DeletedAt {
		t.Errorf("secret delete, again = %+v, want %+v", again, first)
	}
	s.ask("DEL", "{postern}:log")
	s.unchanged("secret delete, again,", stored)
	if r := s.runWith(" \n"+byToken.Secret+"\r\n", "secret delete --token-stdin"); r.code != exitDone || !strings.Contains(r.stdout, byToken.ID) {
		t.Errorf("secret delete --token-stdin = exit %d, %q, %q, want 0 and the id", r.code, r.stdout, r.stderr)
	}
	for _, f := range []authz.Form{byID, byToken} {
		s.decides(f.Secret, "GET /api/3/orders/1", "deny", "deleted")
		s.refused(s.run("secret show", f.ID), "secret "+f.ID+" was deleted at 2")
		s.refused(s.run("secret rotate", f.ID), "secret "+f.ID+" was deleted at 2")
	}
	var list struct{ Secrets []authz.Form }
	if s.decode(s.ok("secret list --merchant m1 --json"), &list); len(list.Secrets) != 1 || list.Secrets[0].ID != legacy.ID {
		t.Errorf("secret list after deleting = %+v, want the legacy secret only", list)
	}
	s.ok("secret delete", legacy.ID)
	s.form("merchant create m1") // its place is free
}

func TestMerchantDelete(t *testing.T) {
	s := newShell(t)
	legacy, granted, other := s.form("merchant create m1"), s.create("--permission getOrder"), s.form("merchant create m2")
	var form struct {
		Merchant string
		Deleted  []string
		Sidecars json.RawMessage
	}
	s.decode(s.ok("merchant delete m1 --json"), &form)
	if want := slices.Sorted(slices.Values([]string{legacy.ID, granted.ID})); form.Merchant != "m1" || !slices.Equal(form.Deleted, want) {
		t.Errorf("merchant delete = %+v, want m1 and %v", form, want)
	}
	for _, f := range []authz.Form{legacy, granted} {
		s.decides(f.Secret, "GET /api/3/orders/1", "deny", "deleted")
	}
	s.decides(other.Secret, "GET /api/3/orders/1", "allow", "unrestricted")
	stored := s.dump()
	for _, line := range []string{"merchant create m1", "secret create --merchant m1 --description d --permission getOrder",
		"secret import --merchant m1 --description d --permission getOrder --sha256 " + strings.Repeat("ab", 32)} {
		s.refused(s.run(line), "merchant m1: the merchant was deleted, and its id cannot be used again")
		s.unchanged(line, stored)
	}
	s.decode(s.ok("merchant delete m1 --json"), &form)
	if s.unchanged("merchant delete, again,", stored); len(form.Deleted) != 0 {
		t.Errorf("merchant delete, again = %+v, want none deleted", form)
	}
	s.refused(s.run("merchant delete nobody"), "there is no merchant nobody: it never had a secret")
	s.unchanged("merchant delete of an unknown one", stored)
}

// A secret that was minted and could not be shown is named, so that it can be deleted.
func TestMintedAndNotShown(t *testing.T) {
	s := newShell(t)
	for _, flag := range []string{"", "--json"} {
		var stderr strings.Builder
		args := s.words("secret create --merchant m1 --description d --permission getOrder "+flag, nil)
		code := run(t.Context(), args, process{Getenv: func(name string) string { return s.env[name] }, Stdout: brokenPipe{}, Stderr: &stderr})
		var list struct{ Secrets []authz.Form }
		s.decode(s.ok("secret list --merchant m1 --json"), &list)
		id := list.Secrets[len(list.Secrets)-1].ID
		if code != exitRefused || !strings.Contains(stderr.String(), id) {
			t.Errorf("secret create %s onto a broken pipe = exit %d, %q, want 1 and the id %s", flag, code, stderr.String(), id)
		}
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, fmt.Errorf("broken pipe") }
