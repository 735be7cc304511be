package admin

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strconv"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cmd/postern/admin/access"
	"github.com/postern/postern/cmd/postern/admin/desk"
)

// problem is an error as RFC 9457 has it.
type problem struct {
	Type    string       `json:"type"`
	Title   string       `json:"title"`
	Status  int          `json:"status"`
	Detail  string       `json:"detail"`
	Request string       `json:"request,omitempty"` // "" where two answers must be alike
	Errors  authz.Faults `json:"errors,omitempty"`
}

// badRequest is a request that is not as described.
type badRequest struct {
	status int
	detail string
	faults authz.Faults
}

func (e badRequest) Error() string { return e.detail }

// explained are errors and what is said of them. Of all others nothing is
// said: they hold addresses and names of keys.
var explained = []struct {
	is     error
	status int
	detail string
}{
	{errNotFound, 404, "There is nothing here, or nothing that you may know of."},
	{desk.ErrNotFound, 404, "There is nothing here, or nothing that you may know of."},
	{errForbidden, 403, "Your role may look, and not change."},
	{errNobody, 401, "Give a token as Authorization: Bearer."},
	{access.ErrUnknown, 401, "The token is not known, or has expired."},
	{access.ErrUnavailable, 503, "Tokens cannot be checked just now, so nothing was done. Try again in a minute."},
	{desk.ErrHalfDeleted, 503, "The secret is deleted, but not everywhere for sure. Delete it again."},
	{desk.ErrUnfinished, 503, "What came of it could not be noted down. A secret that was made is deleted again; a deletion stands. Try again in a minute."},
	{desk.ErrGone, 408, "The connection ended before the answer, so the secret that was made is deleted again. Make another."},
	{desk.ErrUnrecorded, 503, "Changes cannot be noted down just now, so nothing was changed. Try again in a minute."},
	{store.ErrClosed, 409, "The merchant was deleted, and its id cannot be used again."},
	{store.ErrForeign, 503, "Postern's data was replaced by other data, so nothing was done. Its operator must mend that."},
	{authz.StoreUnavailable, 503, "Postern cannot reach its data just now. Where you were changing something, look whether it was done before you try again."},
	{errHost, 421, "This server does not answer for that host. Its --host flag names those that it does."},
	{errCrossOrigin, 403, "The request comes from another site."},
	{errRequestLine, 400, "The request line names a host. Name a path."},
}

// problemOf is what may be said of an error.
func problemOf(err error) problem {
	p := problem{Type: "about:blank", Status: http.StatusInternalServerError, Detail: "Something went wrong here. Where you were changing something, look whether it was done before you try again."}
	for _, e := range explained {
		if errors.Is(err, e.is) {
			p.Status, p.Detail = e.status, e.detail
			break
		}
	}
	if bad, ok := errors.AsType[badRequest](err); ok {
		p.Status, p.Detail, p.Errors = bad.status, bad.detail, bad.faults
	}
	if faults, ok := errors.AsType[authz.Faults](err); ok {
		p.Status, p.Detail, p.Errors = http.StatusUnprocessableEntity, "Nothing was stored: some fields need another value.", faults
	}
	if conflict, ok := errors.AsType[store.Conflict](err); ok && p.Status == http.StatusInternalServerError {
		p.Status, p.Detail = http.StatusConflict, sentence(conflict.Error())
	}
	if many, ok := errors.AsType[tooMany](err); ok {
		p.Status, p.Detail = http.StatusTooManyRequests, sentence(many.Error())
	}
	p.Title = http.StatusText(p.Status)
	return p
}

// fail answers with an error.
func (s *server) fail(w http.ResponseWriter, r *http.Request, v *desk.Visit, err error) {
	p := problemOf(err)
	if p.Status >= 500 {
		s.log.Error("request failed", slog.String("request", v.Request), slog.Any("error", err))
		w.Header().Set("Retry-After", "1")
	}
	if many, ok := errors.AsType[tooMany](err); ok {
		w.Header().Set("Retry-After", strconv.Itoa(many.seconds()))
	}
	if p.Status != http.StatusNotFound { // one answer for what is not there and what may not be known
		p.Request = v.Request
	}
	if !isAPI(r.URL.Path) {
		s.failPage(w, r, v, p)
		return
	}
	if p.Status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", `Bearer realm="postern admin"`)
	}
	writeJSON(w, "application/problem+json", p.Status, p)
}

// failUnrouted answers what no route is for: with 404, or 405 where there are
// routes for other methods.
func (s *server) failUnrouted(w http.ResponseWriter, r *http.Request, v *desk.Visit) {
	found := unsent{header: http.Header{}}
	s.mux.ServeHTTP(&found, r)
	if allow := found.header.Get("Allow"); found.status == http.StatusMethodNotAllowed {
		w.Header().Set("Allow", allow)
		s.fail(w, r, v, badRequest{status: http.StatusMethodNotAllowed, detail: "This can be asked for with " + allow + "."})
		return
	}
	s.fail(w, r, v, errNotFound)
}

// unsent is an answer that is not sent.
type unsent struct {
	header http.Header
	status int
}

func (u *unsent) Header() http.Header         { return u.header }
func (u *unsent) WriteHeader(status int)      { u.status = status }
func (u *unsent) Write(p []byte) (int, error) { return len(p), nil }

func writeJSON(w http.ResponseWriter, kind string, status int, value any) {
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(status)
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	encoder.Encode(value) // whoever went away misses it
}
