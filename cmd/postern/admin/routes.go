package admin

import (
	"cmp"
	"errors"
	"net/http"
	"strings"

	"github.com/postern/postern/cmd/postern/admin/access"
	"github.com/postern/postern/cmd/postern/admin/audit"
	"github.com/postern/postern/cmd/postern/admin/desk"
)

// rule says who may use a route.
type rule int

const (
	operators  rule = iota // the zero rule lets the fewest in
	changers               // whoever may change what is {merchant}'s
	seers                  // whoever may know of it
	recognised             // whoever is known
	open                   // everybody
)

// route is a pattern of http.ServeMux, who may use it, and what it does.
type route struct {
	pattern string
	rule    rule
	action  string // for the audit log; "" of what changes nothing
	handle  func(http.ResponseWriter, *http.Request, *desk.Visit) error
}

const (
	secretsPath = "/v1/merchants/{merchant}/secrets"
	pagePath    = "/merchants/{merchant}/integrations"
)

// routes are all that is served.
func (s *server) routes() []route {
	return []route{
		{"POST /v1/merchants", operators, "merchant.create", s.apiCreateMerchant},
		{"GET " + secretsPath, seers, "", s.apiList},
		{"POST " + secretsPath, changers, "secret.create", s.apiCreate},
		{"GET " + secretsPath + "/{id}", seers, "", s.apiShow},
		{"DELETE " + secretsPath + "/{id}", changers, "secret.delete", s.apiDelete},
		{"POST " + secretsPath + "/{id}/rotate", changers, "secret.rotate", s.apiRotate},
		{"GET /v1/permissions", recognised, "", s.apiPermissions},
		{"GET /openapi.json", recognised, "", s.apiDescribe},

		{"GET /{$}", recognised, "", s.pageHome},
		{"GET /merchants", recognised, "", s.pageChoose},
		{"GET /sign-in", open, "", s.pageSignIn},
		{"POST /sign-in", open, "session.begin", s.pageBeginSession},
		{"POST /sign-out", recognised, "session.end", s.pageEndSession},
		{"GET " + pagePath, seers, "", s.pageList},
		{"GET " + pagePath + "/new", changers, "", s.pageNew},
		{"POST " + pagePath + "/new", changers, "secret.create", s.pageCreate},
		{"GET " + pagePath + "/{id}", seers, "", s.pageReview},
		{"GET " + pagePath + "/{id}/rotate", changers, "", s.pageAskRotate},
		{"POST " + pagePath + "/{id}/rotate", changers, "secret.rotate", s.pageRotate},
		{"GET " + pagePath + "/{id}/delete", changers, "", s.pageAskDelete},
		{"POST " + pagePath + "/{id}/delete", changers, "secret.delete", s.pageDelete},
		{"GET /assets/{name}", open, "", s.serveAsset},

		{"GET /healthz", open, "", s.serveHealthz},
		{"GET /readyz", open, "", s.serveReadyz},
	}
}

// isAPI reports whether a path is of the API, whose errors are problems; those
// of others are pages.
func isAPI(path string) bool { return strings.HasPrefix(path, "/v1/") || path == "/openapi.json" }

// Why a request is refused, beside what access and desk say.
var (
	errNotFound  = errors.New("not found")
	errForbidden = errors.New("forbidden")
	errNobody    = errors.New("no credential")
)

// enter is a route with its rule: what it does is done for those alone who may.
func (s *server) enter(route route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := visitOf(r)
		err := s.admit(w, r, v, route.rule)
		if err == nil {
			err = route.handle(w, r, v)
		}
		if err != nil {
			s.fail(w, r, v, err)
		}
		status := w.(*watched).status
		if v.Recorded || status < 400 && err == nil || !tells(route, status) {
			return
		}
		if status == http.StatusSeeOther { // to sign in
			status = http.StatusUnauthorized
		}
		action := route.action
		if action == "" {
			action = "read"
		}
		s.recordRefusal(v, audit.Entry{
			Action: action, Merchant: recordable(r.PathValue("merchant")), Secret: id(r), Result: audit.Refused, Status: status, Detail: http.StatusText(status),
		})
	})
}

// tells reports whether a refusal belongs in the audit log: every one of what
// changes something, and of the rest what was not allowed. A browser that is
// sent to sign in was refused nothing, and who has to wait was refused before.
func tells(route route, status int) bool {
	switch status {
	case http.StatusTooManyRequests:
		return false
	case http.StatusForbidden:
		return true
	case http.StatusUnauthorized, http.StatusSeeOther:
		return route.action != "" || isAPI(strings.TrimPrefix(route.pattern, "GET "))
	}
	return route.action != ""
}

// admit recognises who asks and applies a rule. What somebody may not know of
// is not found.
func (s *server) admit(w http.ResponseWriter, r *http.Request, v *desk.Visit, rule rule) (err error) {
	if rule == open {
		return nil
	}
	if v.Identity, err = s.recognise(r, v); err != nil {
		return err
	}
	role, merchant := v.Identity.Role, r.PathValue("merchant")
	switch rule {
	case recognised:
		return nil
	case operators:
		if role.Only() != "" {
			return errNotFound
		}
		if role != access.Operator {
			return errForbidden
		}
		return nil
	}
	if recordable(merchant) == "" || !role.Sees(merchant) {
		s.recordElsewhere(r, v)
		return errNotFound
	}
	if rule != seers && !role.Changes(merchant) {
		return errForbidden
	}
	return nil
}

// recordElsewhere records that somebody asked for another merchant's things,
// which looks to them like any that is not found.
func (s *server) recordElsewhere(r *http.Request, v *desk.Visit) {
	s.recordRefusal(v, audit.Entry{
		Action: strings.ToLower(r.Method) + " elsewhere", Merchant: recordable(r.PathValue("merchant")), Secret: id(r),
		Result: audit.Refused, Status: http.StatusNotFound, Detail: "it is not of a merchant that this role sees",
	})
}

// recordRefusal records what was refused already: where that cannot be, the log
// has it. Of a flood it records the beginning, and then some: a full disk would
// stop all changes.
func (s *server) recordRefusal(v *desk.Visit, e audit.Entry) {
	if s.limits.refusals.take(cmp.Or(v.Identity.Name, v.From)) == 0 {
		s.desk.Record(v, e)
	}
}
