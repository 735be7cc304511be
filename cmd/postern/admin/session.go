package admin

import (
	"errors"
	"net/http"
	"net/url"
	"regexp"
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

// whySignIn is what the sign-in page says to somebody who was sent there.
var whySignIn = map[string]string{
	"cookie": "Your browser did not keep the session. Open this page by https, or by http on localhost.",
	"ended":  "Your session has ended. Sign in again to go on where you were.",
	"undone": "Your session had ended, so nothing was made, changed or deleted. Sign in again, and then do it once more.",
}

// pages are those that a sign-in may lead on to.
var pages = regexp.MustCompile(`^/merchants/([^/]+)/integrations(/new|/[0-9a-f]{32}(/rotate|/delete)?)?$`)

// onward is a path that a sign-in leads on to, and whose it is; "" of any other
// text. It may be anybody's: it is a page of this server or nothing.
func onward(to string) (path, merchant string) {
	found := pages.FindStringSubmatch(to)
	if found == nil || recordable(found[1]) == "" {
		return "", ""
	}
	return to, found[1]
}

// signInFor is where somebody is sent who asks for something without a session.
func signInFor(r *http.Request) string {
	query := url.Values{}
	switch asked := r.URL.Query(); {
	case sessionOf(r) == "" && asked.Has("signed-in"):
		query.Set("why", "cookie")
	case sessionOf(r) == "" || r.URL.Path == "/sign-out":
	case r.Method == http.MethodPost:
		query.Set("why", "undone")
	default:
		query.Set("why", "ended")
	}
	for _, to := range []string{r.URL.Path, r.URL.Query().Get("to")} {
		if to, _ = onward(to); to != "" {
			query.Set("to", to)
		}
	}
	return strings.TrimSuffix("/sign-in?"+query.Encode(), "?")
}

// signInView is what the sign-in page shows.
type signInView struct{ Error, Why, To string }

func (s *server) pageSignIn(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	view := signInView{Why: whySignIn[r.URL.Query().Get("why")]}
	view.To, _ = onward(r.URL.Query().Get("to"))
	return s.show(w, r, v, http.StatusOK, "sign-in", "Sign in", view)
}

func (s *server) pageBeginSession(w http.ResponseWriter, r *http.Request, v *desk.Visit) error {
	if err := parseForm(r); err != nil {
		return err
	}
	to, _ := onward(r.PostForm.Get("to"))
	identity, err := s.guard.Identify(r.Context(), strings.TrimSpace(r.PostForm.Get("token")), time.Now())
	if errors.Is(err, access.ErrUnknown) {
		if wait := s.limits.signIns.take(v.From); wait > 0 { // a good token needs no wait: behind a proxy, all have one address
			return tooMany{wait}
		}
		s.desk.Record(v, audit.Entry{Action: "session.begin", Result: audit.Refused, Status: http.StatusUnauthorized})
		return s.show(w, r, v, http.StatusUnauthorized, "sign-in", "Sign in", signInView{Error: "That token is not known, or has expired.", To: to})
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
	http.Redirect(w, r, "/?"+url.Values{"signed-in": {""}, "to": {to}}.Encode(), http.StatusSeeOther)
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
