package admin

import (
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cmd/postern/admin/desk"
)

// What was deleted is said to have stopped where every gateway confirmed it,
// and nowhere else.
func TestDeletedIsNotOverstated(t *testing.T) {
	at := time.Date(2026, 4, 28, 9, 59, 48, 5e8, time.UTC)
	for _, tt := range []struct {
		name      string
		sidecars  store.Applied
		confirmed bool
		want      string
	}{
		{"none runs", store.Applied{}, false, "nothing has confirmed it"},
		{"all", store.Applied{Applied: 2, Known: 2}, true, "stopped working everywhere"},
		{"some are late", store.Applied{Applied: 1, Known: 3, Late: []store.Late{{Name: "b", StoppedBy: at}, {Name: "a", StoppedBy: at.Add(-time.Hour)}}}, false, "by 28/04/2026 - 09:59:49 AM UTC at the latest"},
	} {
		if got := deletedViewOf(desk.Deleted{Sidecars: tt.sidecars}); got.Confirmed != tt.confirmed || !strings.Contains(got.When, tt.want) {
			t.Errorf("%s: %q, confirmed %v, want %q and %v", tt.name, got.When, got.Confirmed, tt.want, tt.confirmed)
		}
	}
	// A second click on Delete finds what is deleted already.
	w := newWorld(t)
	session, path := w.session("a"), pageOf("a")+"/"+w.ids["a"]+"/delete"
	for i, want := range []string{"Warehouse", "is deleted for good"} {
		if a := w.post(session, path, goodForm()); a.status != 200 || !strings.Contains(a.body, want) || !strings.Contains(a.body, "**************") || strings.Contains(a.body, w.ids["a"]) {
			t.Errorf("deletion %d = %d %s, want %q, the redacted form and no id", i+1, a.status, a.body, want)
		}
	}
}
