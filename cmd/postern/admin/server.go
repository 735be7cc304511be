package admin

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path"
	"runtime/debug"
	"strings"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/authz/openapi"
	"github.com/postern/postern/cmd/postern/admin/access"
	"github.com/postern/postern/cmd/postern/admin/desk"
)

// maxBody bounds what a request may bring.
const maxBody = 64 << 10

// server answers. It is safe for concurrent use.
type server struct {
	desk     desk.Desk
	guard    access.Guard
	sessions *access.Sessions
	contract *openapi.Contract
	document []byte // the contract as JSON
	hosts    map[string]bool
	log      *slog.Logger
	limits   *limits
	mux      *http.ServeMux
	origins  http.CrossOriginProtection
}

type visitKey struct{}

func visitOf(r *http.Request) *desk.Visit { return r.Context().Value(visitKey{}).(*desk.Visit) }

// ServeHTTP does for every request what does not depend on its route.
func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v := &desk.Visit{Request: rand.Text()[:16], From: peer(r)}
	r = r.WithContext(context.WithValue(r.Context(), visitKey{}, v))
	out := &watched{ResponseWriter: w}
	setHeaders(out.Header(), r, v)
	begun := time.Now()
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic", slog.String("request", v.Request), slog.String("panic", fmt.Sprint(p)), slog.String("stack", string(debug.Stack())))
			if out.status == 0 {
				s.fail(out, r, v, fmt.Errorf("panic: %v", p))
			}
		}
		_, pattern := s.mux.Handler(r)
		s.log.Info("request", slog.String("request", v.Request), slog.String("route", pattern), slog.Int("status", out.status),
			slog.String("who", v.Identity.Name), slog.String("from", v.From), slog.Duration("took", time.Since(begun)))
	}()
	if err := s.refuse(r); err != nil {
		s.fail(out, r, v, err)
		return
	}
	r.Body = http.MaxBytesReader(out, r.Body, maxBody)
	if _, pattern := s.mux.Handler(r); pattern == "" {
		s.failUnrouted(out, r, v)
		return
	}
	s.mux.ServeHTTP(out, r)
}

// watched remembers the status that it was answered with.
type watched struct {
	http.ResponseWriter
	status int
}

func (w *watched) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(p []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(p)
}

// Unwrap is for http.ResponseController, and http.MaxBytesReader.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// peer is where a request comes from. Headers say nothing about it that could
// be believed.
func peer(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return unixPeer
	}
	return host
}

// policy lets a page load what is this server's, and be shown in no frame. A
// page that needs the one script there is asks for it.
const policy = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

func setHeaders(h http.Header, r *http.Request, v *desk.Visit) {
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Request-Id", v.Request)
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=63072000")
	}
}

// Why a request is refused before it is looked at.
var (
	errHost        = errors.New("this server does not answer for that host: name it with --host")
	errCrossOrigin = errors.New("the request comes from another site")
	errRequestLine = errors.New("the request line names a host: name a path")
)

// refuse refuses requests by their head alone: those for a host that is not
// ours (a name that was bound to our address), those from other sites, and
// those whose path could be read in two ways.
func (s *server) refuse(r *http.Request) error {
	switch {
	case r.URL.IsAbs() || r.URL.Host != "":
		return errRequestLine
	case !s.hosts[hostName(r.Host)] && !s.overSocket(r) && !isProbe(r.URL.Path):
		return errHost
	case s.origins.Check(r) != nil:
		return errCrossOrigin
	case strings.Contains(r.URL.EscapedPath(), "%") || path.Clean(r.URL.Path) != r.URL.Path:
		return errNotFound
	}
	return nil
}

// overSocket reports whether a request came over a unix socket with a token in
// its header: no browser was talked into that, whatever host it names.
func (s *server) overSocket(r *http.Request) bool {
	return peer(r) == unixPeer && r.Header.Get("Authorization") != "" && isAPI(r.URL.Path)
}

// isProbe reports whether a path is for probes, which name any host and learn
// nothing.
func isProbe(path string) bool { return path == "/healthz" || path == "/readyz" }

func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		return strings.ToLower(name)
	}
	return strings.ToLower(strings.Trim(host, "[]"))
}

// recordable is a merchant's id, or "" where it is none.
func recordable(merchant string) string {
	if authz.CheckMerchant(merchant) != nil {
		return ""
	}
	return merchant
}

// id is the id of the secret that a request is about, if it has the form of
// one. It may be anything that somebody pasted.
func id(r *http.Request) string {
	if id := r.PathValue("id"); desk.IsID(id) {
		return id
	}
	return ""
}

// recognise says who asks: by the token in the header, for the API; by the
// session, for the page.
func (s *server) recognise(r *http.Request, v *desk.Visit) (access.Identity, error) {
	if !isAPI(r.URL.Path) {
		cookie, err := r.Cookie(sessionCookie)
		if err != nil {
			return access.Identity{}, errNobody
		}
		return s.sessions.Find(cookie.Value)
	}
	scheme, credential, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if len(r.Header.Values("Authorization")) != 1 || !strings.EqualFold(scheme, "Bearer") {
		return access.Identity{}, s.miss(v, errNobody)
	}
	identity, err := s.guard.Identify(r.Context(), strings.TrimLeft(credential, " "), time.Now())
	if errors.Is(err, access.ErrUnknown) {
		err = s.miss(v, err)
	}
	return identity, err
}

// miss counts somebody who was not recognised, and refuses to look further
// where there are too many from one place.
func (s *server) miss(v *desk.Visit, err error) error {
	if wait := s.limits.misses.take(v.From); wait > 0 {
		return tooMany{wait}
	}
	return err
}
