package admin

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/postern/postern/cmd/postern/admin/access"
	"github.com/postern/postern/cmd/postern/admin/audit"
	"github.com/postern/postern/cmd/postern/admin/desk"
)

// sessionCookie names a session. Its prefix makes browsers keep it to this
// host, and to https; they take http on localhost for as good.
const sessionCookie = "__Host-postern"

// cookie is the session's cookie. With maxAge 0 it goes with the browser; what
// ends the session is kept here.
func cookie(value string, maxAge int) *http.Cookie {
	return &http.Cookie{Name: sessionCookie, Value: value, Path: "/", Secure: true, HttpOnly: true, SameSite: http.SameSiteStrictMode, MaxAge: maxAge}
}

// sessionOf is the name of a request's session.
func sessionOf(r *http.Request) string {
	c, err := r.Cookie(sessionCookie)
	if err != nil {
		return ""
	}
	return c.Value
}

// signInView is what the sign-in page shows.
type signInView struct{ Error string }

func (s *server) pageSignIn(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	var view signInView
	if r.URL.Query().Has("cookie") {
		view.Error = "Your browser did not keep the session. Open this page by https, or by http on localhost."
	}
	return s.show(w, r, v, http.StatusOK, "sign-in", "Sign in", view)
}

func (s *server) pageBeginSession(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	if wait := s.limits.signIns.wait(v.From); wait > 0 {
		return tooMany{wait}
	}
	if err := parseForm(r); err != nil {
		return err
	}
	identity, err := s.guard.Identify(r.Context(), strings.TrimSpace(r.PostForm.Get("token")), time.Now())
	if errors.Is(err, access.ErrUnknown) {
		s.limits.signIns.take(v.From)
		s.desk.Record(v, audit.Entry{Action: "session.begin", Result: audit.Refused, Status: http.StatusUnauthorized})
		return s.show(w, r, v, http.StatusUnauthorized, "sign-in", "Sign in", signInView{"That token is not known, or has expired."})
	}
	if err != nil {
		return err
	}
	v.Identity = identity
	if err := s.desk.Record(v, audit.Entry{Action: "session.begin", Result: audit.Done}); err != nil {
		return err
	}
	s.sessions.End(sessionOf(r))
	http.SetCookie(w, cookie(s.sessions.Begin(identity), 0))
	http.Redirect(w, r, "/?signed-in", http.StatusSeeOther)
	return nil
}

func (s *server) pageEndSession(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	s.sessions.End(sessionOf(r))
	s.desk.Record(v, audit.Entry{Action: "session.end", Result: audit.Done}) // it has ended, recorded or not
	http.SetCookie(w, cookie("", -1))
	http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
	return nil
}

// parseForm reads a form that was sent as browsers do.
func parseForm(r *http.Request) error {
	if kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";"); !strings.EqualFold(strings.TrimSpace(kind), "application/x-www-form-urlencoded") {
		return badRequest{status: http.StatusUnsupportedMediaType, detail: "Send the form as application/x-www-form-urlencoded."}
	}
	err := r.ParseForm()
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return badRequest{status: http.StatusRequestEntityTooLarge, detail: "The form is too large."}
	}
	if err != nil {
		return badRequest{status: http.StatusBadRequest, detail: "The form cannot be read."}
	}
	return nil
}
