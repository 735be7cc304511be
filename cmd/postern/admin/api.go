package admin

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cmd/postern/admin/desk"
)

// withValues joins what the description of the API finds wrong with what the
// desk does. Of one field the desk knows more.
func withValues(err error, values authz.Faults) error {
	faults, ok := errors.AsType[authz.Faults](err)
	if err != nil && !ok {
		return err
	}
	for _, f := range values {
		if !slices.ContainsFunc(faults, func(o authz.Fault) bool { return o.Field == f.Field }) {
			faults = append(faults, f)
		}
	}
	if len(faults) == 0 {
		return nil
	}
	return faults
}

func (s *server) apiCreateMerchant(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	var body struct{ ID string }
	values, err := s.readBody(r, &body)
	if err != nil {
		return err
	}
	if len(values) > 0 {
		return withValues(authz.Faults{}, values)
	}
	return s.mint(w, v, func() (desk.Minted, error) { return s.desk.CreateMerchant(r.Context(), v, body.ID) })
}

func (s *server) apiCreate(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	var body struct {
		Description string
		Permissions []authz.Choice
		AllowIPs    []string   `json:"allow_ips"`
		ExpiresAt   *time.Time `json:"expires_at"`
	}
	values, err := s.readBody(r, &body)
	if err != nil {
		return err
	}
	draft := authz.Draft{Merchant: r.PathValue("merchant"), Description: body.Description, Permissions: body.Permissions, AllowIPs: body.AllowIPs}
	if body.ExpiresAt != nil {
		draft.ExpiresAt = body.ExpiresAt.UTC()
	}
	if len(values) > 0 { // whatever the rest is, it is refused
		_, err := draft.Secret(s.desk.Catalog(), time.Now())
		return withValues(err, values)
	}
	return s.mint(w, v, func() (desk.Minted, error) { return s.desk.Create(r.Context(), v, draft) })
}

// mint answers with what make makes, and its text.
func (s *server) mint(w http.ResponseWriter, v *desk.Visit, make func() (desk.Minted, error)) error {
	if wait := s.limits.mints.take(v.Identity.Name); wait > 0 {
		return tooMany{wait}
	}
	m, err := make()
	if err != nil {
		return err
	}
	form := m.Secret.Form()
	form.Secret = m.Token.Reveal()
	writeJSON(w, "application/json", http.StatusCreated, form)
	return nil
}

func (s *server) apiRotate(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	var body struct {
		ExpiresAt   *time.Time `json:"expires_at"`
		Permissions json.RawMessage
	}
	values, err := s.readBody(r, &body)
	if err != nil {
		return err
	}
	if len(values) > 0 {
		return withValues(authz.Faults{}, values)
	}
	var rotation desk.Rotation
	if body.ExpiresAt != nil {
		rotation.ExpiresAt = body.ExpiresAt.UTC()
	}
	if rotation.Latest = bytes.Equal(body.Permissions, []byte(`"latest"`)); !rotation.Latest && len(body.Permissions) > 0 {
		if err := json.Unmarshal(body.Permissions, &rotation.Choices); err != nil {
			return misshapen(authz.Faults{{Field: "permissions", Text: "it is no list of permissions, and not latest"}})
		}
	}
	old, err := s.desk.Find(r.Context(), r.PathValue("merchant"), r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.mint(w, v, func() (desk.Minted, error) { return s.desk.Rotate(r.Context(), v, old, rotation) })
}

func (s *server) apiDelete(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	if _, err := s.readBody(r, nil); err != nil {
		return err
	}
	done, err := s.desk.Delete(r.Context(), v, r.PathValue("merchant"), r.PathValue("id"))
	if err != nil {
		return err
	}
	writeJSON(w, "application/json", http.StatusOK, done)
	return nil
}

func (s *server) apiShow(w http.ResponseWriter, r *http.Request, _ *desk.Visit) error {
	if _, err := s.readBody(r, nil); err != nil {
		return err
	}
	secret, err := s.desk.Find(r.Context(), r.PathValue("merchant"), r.PathValue("id"))
	if err != nil {
		return err
	}
	forms, err := s.desk.Store.Forms(r.Context(), secret)
	if err != nil {
		return err
	}
	writeJSON(w, "application/json", http.StatusOK, forms[0])
	return nil
}

// defaultLimit is how many secrets are listed, unless another number is asked
// for.
const defaultLimit = 100

func (s *server) apiList(w http.ResponseWriter, r *http.Request, _ *desk.Visit) error {
	if _, err := s.readBody(r, nil); err != nil {
		return err
	}
	limit := defaultLimit
	if text := r.URL.Query().Get("limit"); text != "" {
		n, err := strconv.Atoi(text) // its bounds are checked already
		if err != nil {
			return misshapen(authz.Faults{{Field: "limit", Text: "it is no number: write 100"}})
		}
		limit = n
	}
	secrets, _, err := s.desk.List(r.Context(), r.PathValue("merchant"))
	if err != nil {
		return err
	}
	var answer struct {
		Secrets []authz.Form `json:"secrets"`
		Next    string       `json:"next,omitempty"`
	}
	if secrets, err = after(secrets, r.URL.Query().Get("cursor")); err != nil {
		return err
	}
	if len(secrets) > limit {
		secrets = secrets[:limit]
		answer.Next = cursorOf(secrets[limit-1])
	}
	if answer.Secrets, err = s.desk.Store.Forms(r.Context(), secrets...); err != nil {
		return err
	}
	writeJSON(w, "application/json", http.StatusOK, answer)
	return nil
}

// cursorOf names the place after a secret in its list, also when it is deleted
// meanwhile.
func cursorOf(s *authz.Secret) string {
	return base64.RawURLEncoding.EncodeToString([]byte(s.CreatedAt.Format(time.RFC3339Nano) + " " + s.ID))
}

// after are the secrets of a list after a cursor; all, after none.
func after(secrets []*authz.Secret, cursor string) ([]*authz.Secret, error) {
	if cursor == "" {
		return secrets, nil
	}
	bad := misshapen(authz.Faults{{Field: "cursor", Text: "it is not the next of an answer"}})
	text, err := base64.RawURLEncoding.DecodeString(cursor)
	moment, id, _ := bytes.Cut(text, []byte(" "))
	at, err2 := time.Parse(time.RFC3339Nano, string(moment))
	if err != nil || err2 != nil || len(id) != 32 {
		return nil, bad
	}
	i := slices.IndexFunc(secrets, func(s *authz.Secret) bool {
		return s.CreatedAt.After(at) || s.CreatedAt.Equal(at) && s.ID > string(id)
	})
	if i < 0 {
		return nil, nil
	}
	return secrets[i:], nil
}

// permissionForm is a permission as the API shows it.
type permissionForm struct {
	ID        string      `json:"id"`
	Label     string      `json:"label"`
	Endpoints []string    `json:"endpoints"`
	Fields    []fieldForm `json:"fields"`
}

type fieldForm struct {
	ID    string `json:"id"`
	Label string `json:"label"`
}

func (s *server) apiPermissions(w http.ResponseWriter, r *http.Request, _ *desk.Visit) error {
	if _, err := s.readBody(r, nil); err != nil {
		return err
	}
	forms := []permissionForm{}
	for _, p := range s.desk.Catalog().Permissions {
		if p.Retired {
			continue
		}
		f := permissionForm{p.ID, p.Label, []string{}, []fieldForm{}}
		for _, e := range p.Endpoints {
			if !e.Retired {
				f.Endpoints = append(f.Endpoints, e.String())
			}
		}
		for _, group := range p.Fields {
			f.Fields = append(f.Fields, fieldForm{group.ID, group.Label})
		}
		forms = append(forms, f)
	}
	writeJSON(w, "application/json", http.StatusOK, map[string]any{"permissions": forms})
	return nil
}

func (s *server) apiDescribe(w http.ResponseWriter, _ *http.Request, _ *desk.Visit) error {
	w.Header().Set("Content-Type", "application/json")
	w.Write(s.document)
	return nil
}
