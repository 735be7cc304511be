package admin

import (
	"fmt"
	"net/http"
	"slices"
	"time"

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
	return s.show(w, r, v, http.StatusOK, "rotate", "Rotate "+view.Description, rotateView{view, form})
}

func (s *server) pageRotate(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	secret, view, err := s.find(r, r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.once(w, r, v, formPage{"rotate", "Rotate " + view.Description, &view}, func(f sent) (desk.Minted, error) {
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
	return s.show(w, r, v, http.StatusOK, "delete", "Delete "+view.Description, view)
}

// deletedView is what the page shows of a deletion.
type deletedView struct {
	desk.Deleted
	When      string // it stops working
	Confirmed bool   // by all gateways
}

// deletedViewOf tells no more than gateways have confirmed.
func deletedViewOf(done desk.Deleted) deletedView {
	a, end := done.Sidecars, time.Time{}
	for _, late := range a.Late {
		if late.StoppedBy.After(end) {
			end = late.StoppedBy
		}
	}
	switch {
	case a.Known == 0:
		return deletedView{done, "No gateway runs, so nothing has confirmed it. One that starts from now on refuses it.", false}
	case len(a.Late) > 0:
		by := end.Add(time.Second).UTC().Format(toTheSecond) // not before it
		return deletedView{done, fmt.Sprintf("It stops working everywhere by %s UTC at the latest.", by), false}
	}
	return deletedView{done, "It has stopped working everywhere.", true}
}

func (s *server) pageDelete(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	if err := parseForm(r); err != nil {
		return err
	}
	done, err := s.desk.Delete(r.Context(), v, r.PathValue("merchant"), r.PathValue("id"))
	if err != nil {
		return err
	}
	return s.show(w, r, v, http.StatusOK, "deleted", "API Secret deleted", deletedViewOf(done))
}
