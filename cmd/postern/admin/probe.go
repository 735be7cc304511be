package admin

import (
	"context"
	"net/http"
	"time"

	"github.com/postern/postern/cmd/postern/admin/desk"
)

// serveHealthz says that the process lives.
func (s *server) serveHealthz(w http.ResponseWriter, _ *http.Request, _ *desk.Visit) error {
	_, err := w.Write([]byte("ok\n"))
	return err
}

// readiness is the body of /readyz, as that of a sidecar begins.
type readiness struct {
	Ready    bool     `json:"ready"`
	Problems []string `json:"problems"`
}

// serveReadyz says whether requests can be served: whether the store answers,
// is the one of the key file, and was not emptied.
func (s *server) serveReadyz(w http.ResponseWriter, r *http.Request, _ *desk.Visit) error {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	if err := s.desk.Store.Check(ctx); err != nil {
		s.log.Warn("not ready", "error", err)
		writeJSON(w, "application/json", http.StatusServiceUnavailable, readiness{Problems: []string{"the store is out of reach, emptied, or another one: the log says which"}})
		return nil
	}
	writeJSON(w, "application/json", http.StatusOK, readiness{Ready: true, Problems: []string{}})
	return nil
}
