package admin

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cmd/postern/admin/desk"
)

// formView is the form of a secret: to fill in, filled in again with what is
// wrong, or to read.
type formView struct {
	ID          string // of this showing of the form; "" of one to read
	Description string
	AllowIPs    string // one a line
	ExpiresAt   string // as an input of type datetime-local has it
	Permissions []permissionView
	Faults      []authz.Fault // as sentences, in the form's order
	Which       string        // of a rotation: same, latest or chosen
}

// ReadOnly tells that the form is to read.
func (f formView) ReadOnly() bool { return f.ID == "" }

// Fault is what is wrong with a field, or "".
func (f formView) Fault(field string) string {
	var texts []string
	for _, fault := range f.Faults {
		if fault.Field == field {
			texts = append(texts, fault.Text)
		}
	}
	return strings.Join(texts, " ")
}

// formOf is a secret as a form to read.
func (s *server) formOf(secret *authz.Secret, v secretView) formView {
	f := formView{Description: v.Description, AllowIPs: strings.Join(v.AllowIPs, "\n"), Permissions: permissionsFor(s.desk.Catalog(), secret.Choices())}
	f.tellOf(v)
	return f
}

// tellOf tells of each permission when the secret last used it, and whether it
// predates it.
func (f formView) tellOf(v secretView) {
	for i := range f.Permissions {
		p := &f.Permissions[i]
		for _, has := range v.Form.Permissions {
			if has.ID == p.ID {
				p.LastUsed, p.Idle = describeUse(v.CreatedAt, has.LastUsedAt.Time, time.Now())
			}
		}
		for _, n := range v.Newer {
			switch {
			case n.ID != p.ID || v.Legacy:
			case n.Whole:
				p.Newer = "Newer than this secret: rotate to add it."
			default:
				p.Newer = "Has grown by " + strings.Join(n.Endpoints, ", ") + ": rotate to add that."
			}
		}
	}
}

// sent is what a form was sent with.
type sent struct {
	description, allowIPs, expiresAt, which string
	choices                                 []authz.Choice
	stray                                   []string // field groups whose permission is not ticked
}

func readSent(r *http.Request) sent {
	f := sent{description: strings.TrimSpace(r.PostForm.Get("description")), allowIPs: r.PostForm.Get("allow_ips"), expiresAt: r.PostForm.Get("expires_at"), which: r.PostForm.Get("which")}
	for _, id := range r.PostForm["permission"] {
		f.choices = append(f.choices, authz.Choice{ID: id, Fields: []string{}})
	}
	for _, value := range r.PostForm["field"] {
		choice := authz.ParseChoice(value)
		i := slices.IndexFunc(f.choices, func(o authz.Choice) bool { return o.ID == choice.ID })
		if i < 0 {
			f.stray = append(f.stray, value)
			continue
		}
		f.choices[i].Fields = append(f.choices[i].Fields, choice.Fields...)
	}
	return f
}

// expiry is the moment that was typed, in UTC; zero where none was.
func (f sent) expiry() (time.Time, authz.Faults) {
	if f.expiresAt == "" {
		return time.Time{}, nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02T15:04:05", time.RFC3339, "2006-01-02"} {
		if at, err := time.Parse(layout, f.expiresAt); err == nil && at.Year() <= 9999 {
			return at.UTC(), nil
		}
	}
	return time.Time{}, authz.Faults{{Field: "expires_at", Text: "it is no date and time: write 2030-01-31T00:00"}}
}

// addresses are what stands on the lines of the allow-list.
func (f sent) addresses() (all []string) {
	return strings.FieldsFunc(f.allowIPs, func(r rune) bool { return strings.ContainsRune("\r\n\t ,", r) })
}

// strayFaults are of field groups without their permission.
func (f sent) strayFaults(c *authz.Catalog) (faults authz.Faults) {
	for _, value := range f.stray {
		choice := authz.ParseChoice(value)
		p := c.Permission(choice.ID)
		if p == nil {
			continue
		}
		for _, g := range p.Fields {
			if slices.Contains(choice.Fields, g.ID) {
				faults = append(faults, authz.Fault{Field: "permissions", Text: "“" + g.Label + "” needs “" + p.Label + "”: tick both, or none"})
			}
		}
	}
	return faults
}

// again is the form as it was sent, with what is wrong.
func (s *server) again(f sent, faults authz.Faults) formView {
	v := formView{ID: newForm(), Description: f.description, AllowIPs: f.allowIPs, ExpiresAt: f.expiresAt, Which: f.which, Permissions: permissionsFor(s.desk.Catalog(), f.choices)}
	for i := range v.Permissions {
		for j, field := range v.Permissions[i].Fields {
			if slices.Contains(f.stray, field.Value) {
				v.Permissions[i].Fields[j].Ticked = true
			}
		}
	}
	for _, field := range []string{"description", "allow_ips", "expires_at", "permissions"} {
		for _, fault := range faults {
			if fault.Field != field {
				continue
			}
			if field == "permissions" && f.which == "" && len(f.choices) == 0 && len(f.stray) == 0 {
				fault.Text = "tick at least one permission"
			}
			v.Faults = append(v.Faults, authz.Fault{Field: field, Text: sentence(fault.Text)})
		}
	}
	return v
}

// mintedView is what the page shows once.
type mintedView struct {
	secretView
	Secret      string
	Behind, All int
	Old         *secretView // that it stands beside; nil: none
}

func (s *server) pageNew(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	return s.show(w, r, v, http.StatusOK, "new", "New API Secret", formView{ID: newForm(), Permissions: permissionsFor(s.desk.Catalog(), nil)})
}

func (s *server) pageCreate(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	return s.once(w, r, v, formPage{"new", "New API Secret", nil}, func(f sent) (desk.Minted, error) {
		expires, faults := f.expiry()
		faults = append(faults, f.strayFaults(s.desk.Catalog())...)
		draft := authz.Draft{Merchant: r.PathValue("merchant"), Description: f.description, Permissions: f.choices, AllowIPs: f.addresses(), ExpiresAt: expires}
		return s.mintForm(r, v, draft, faults)
	})
}

// mintForm makes the secret of a form. All that is wrong with it is told at
// once.
func (s *server) mintForm(r *http.Request, v *desk.Visit, draft authz.Draft, faults authz.Faults) (desk.Minted, error) {
	if len(faults) > 0 {
		_, err := draft.Secret(s.desk.Catalog(), time.Now())
		others, _ := errors.AsType[authz.Faults](err)
		return desk.Minted{}, withValues(faults, others)
	}
	if wait := s.limits.mints.take(v.Identity.Name); wait > 0 {
		return desk.Minted{}, tooMany{wait}
	}
	return s.desk.Create(r.Context(), v, draft)
}

// errNotOnce refuses a form that nothing can come of.
var errNotOnce = badRequest{status: http.StatusConflict, detail: "This form cannot be sent, or not again. Look at the list for what it made, and open the form anew."}

// formPage is the page of a form that makes a secret.
type formPage struct {
	name, title string
	old         *secretView // that the new one stands beside; nil: none
}

// once mints by a form. One that came to nothing may be sent again; one with
// faults is shown again. While a form is being sent, sending it again waits: a
// second click has its browser drop the answer to the first.
func (s *server) once(w http.ResponseWriter, r *http.Request, v *desk.Visit, page formPage, mint func(sent) (desk.Minted, error)) error {
	if err := parseForm(r); err != nil {
		return err
	}
	sending, first := s.sessions.Once(sessionOf(r), r.PostForm.Get("form"))
	for sending != nil && !first {
		select {
		case <-sending.Over:
		case <-r.Context().Done():
			return errNotOnce
		}
		if sending.Secret != "" {
			return s.showTwice(w, r, v, sending.Secret)
		}
		sending, first = s.sessions.Once(sessionOf(r), r.PostForm.Get("form"))
	}
	if sending == nil {
		return errNotOnce
	}
	made := ""
	defer func() { s.sessions.Finish(sending, made) }()
	f := readSent(r)
	m, err := mint(f)
	if refused, ok := errors.AsType[authz.Faults](err); ok {
		return s.showAgain(w, r, v, page, s.again(f, refused))
	}
	if err != nil {
		return err
	}
	made = m.Secret.ID
	return s.showMinted(w, r, v, m, page.old)
}

// showAgain shows a form with its faults.
func (s *server) showAgain(w http.ResponseWriter, r *http.Request, v *desk.Visit, page formPage, form formView) error {
	if page.old == nil {
		return s.show(w, r, v, http.StatusUnprocessableEntity, page.name, page.title, form)
	}
	form.tellOf(*page.old)
	return s.show(w, r, v, http.StatusUnprocessableEntity, page.name, page.title, rotateView{*page.old, form})
}

// showTwice names the secret that a form made when it was sent before. Its text
// is not kept, so it cannot be shown again.
func (s *server) showTwice(w http.ResponseWriter, r *http.Request, v *desk.Visit, id string) error {
	_, view, err := s.find(r, id)
	if errors.Is(err, desk.ErrNotFound) {
		return errNotOnce
	}
	if err != nil {
		return err
	}
	return s.show(w, r, v, http.StatusConflict, "twice", "This form was sent before", view)
}

// withScript lets a page run the one script there is.
const withScript = policy + "; script-src 'self'"

// showMinted shows a secret's text, this once: the answer to the form that made
// it is the only one that has it.
func (s *server) showMinted(w http.ResponseWriter, r *http.Request, v *desk.Visit, m desk.Minted, old *secretView) error {
	form := m.Secret.FormWith(authz.Usage{})
	form.Usage = &authz.UsageForm{}
	page := mintedView{secretView: viewOf(form, time.Now()), Secret: m.Token.Reveal(), Behind: m.Behind, All: m.All, Old: old}
	w.Header().Set("Content-Security-Policy", withScript)
	return s.show(w, r, v, http.StatusCreated, "minted", "New API Secret", page)
}
