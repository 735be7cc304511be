package admin

import (
	"fmt"
	"net/http"
	"slices"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cmd/postern/admin/desk"
)

// rotateView is what the page of a rotation shows.
type rotateView struct {
	secretView
	Form formView
}

func (s *server) pageAskRotate(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	secret, view, err := s.find(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	form := formView{ID: newForm(), Which: "same", Permissions: permissionsFor(s.desk.Catalog(), secret.Choices())}
	form.tellOf(view)
	return s.show(w, r, v, http.StatusOK, "rotate", "Rotate API Secret", rotateView{view, form})
}

func (s *server) pageRotate(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	secret, view, err := s.find(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.once(w, r, v, formPage{"rotate", "Rotate API Secret", &view}, func(f sent) (desk.Minted, error) {
		return s.rotateForm(r, v, secret, f)
	})
}

// rotateForm rotates as a form says.
func (s *server) rotateForm(r *http.Request, v *desk.Visit, old *authz.Secret, f sent) (desk.Minted, error) {
	expires, faults := f.expiry()
	rotation := desk.Rotation{ExpiresAt: expires, Latest: f.which == "latest"}
	switch f.which {
	case "same", "latest":
		if shown := permissionsFor(s.desk.Catalog(), old.Choices()); !slices.Equal(ticked(shown), ticked(s.again(f, nil).Permissions)) {
			faults = append(faults, authz.Fault{Field: "permissions", Text: "you changed the ticks, and chose to keep the permissions: choose “Those that are ticked below”, or tick again what the old secret has"})
		}
	case "chosen":
		faults = append(faults, f.strayFaults(s.desk.Catalog())...)
		if rotation.Choices = f.choices; len(f.choices) == 0 {
			faults = append(faults, authz.Fault{Field: "permissions", Text: "tick at least one permission"})
		}
	default:
		faults = append(faults, authz.Fault{Field: "permissions", Text: "say which permissions the new secret gets"})
	}
	if len(faults) > 0 {
		return desk.Minted{}, faults
	}
	if wait := s.limits.mints.take(v.Identity.Name); wait > 0 {
		return desk.Minted{}, tooMany{wait}
	}
	return s.desk.Rotate(r.Context(), v, old, rotation)
}

func (s *server) pageAskDelete(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	_, view, err := s.find(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.show(w, r, v, http.StatusOK, "delete", "Delete API Secret", view)
}

// deletedView is what the page shows of a deletion.
type deletedView struct {
	desk.Deleted
	Applied string
	All     bool // sidecars have applied it
}

func (s *server) pageDelete(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	if err := parseForm(r); err != nil {
		return err
	}
	done, err := s.desk.Delete(r.Context(), v, r.PathValue("merchant"), r.PathValue("id"))
	if err != nil {
		return err
	}
	view := deletedView{Deleted: done, All: len(done.Sidecars.Late) == 0, Applied: "No sidecar runs."}
	if done.Sidecars.Known > 0 {
		view.Applied = fmt.Sprintf("Applied by %d of %d sidecars in %d ms.", done.Sidecars.Applied, done.Sidecars.Known, done.Sidecars.Milliseconds)
	}
	return s.show(w, r, v, http.StatusOK, "deleted", "API Secret deleted", view)
}
