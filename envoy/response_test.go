package envoy

import (
	"net/http"
	"slices"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"github.com/postern/postern/authz"
)

// Where data must go from an answer, the upstream is asked for a whole one, and
// the filter is told what it needs; elsewhere neither.
func TestFilteredVerdict(t *testing.T) {
	conditions := []string{"if-match", "if-none-match", "if-modified-since", "if-unmodified-since"}
	for _, tt := range []struct {
		name, method  string
		remove, media []string
		safe          string
		without       []string // fields that the upstream does not get, beside authorization
	}{
		{name: "nothing must go", method: http.MethodGet},
		{name: "a read", method: http.MethodGet, remove: []string{"$.a"}, media: []string{"application/pdf"}, safe: "yes", without: append([]string{"range", "if-range"}, conditions...)},
		{name: "a HEAD", method: http.MethodHead, remove: []string{"$.a"}, safe: "yes", without: append([]string{"range", "if-range"}, conditions...)},
		{name: "a change", method: http.MethodPut, remove: []string{"$.a", "$.b"}, safe: "no", without: []string{"range", "if-range"}},
	} {
		v := authz.Verdict{Reason: authz.Granted, Endpoints: []*authz.Endpoint{{Method: tt.method}}, Remove: tt.remove, Media: tt.media}
		r := respond(v, false)
		ok := r.GetOkResponse()
		identity := slices.ContainsFunc(ok.GetHeaders(), func(h *corev3.HeaderValueOption) bool {
			return h.GetHeader().GetKey() == "accept-encoding" && h.GetHeader().GetValue() == "identity"
		})
		if want := append([]string{"authorization"}, tt.without...); !slices.Equal(ok.GetHeadersToRemove(), want) || identity != (len(tt.remove) > 0) {
			t.Errorf("%s: removes %q, identity %v, want %q and %v", tt.name, ok.GetHeadersToRemove(), identity, want, len(tt.remove) > 0)
		}
		fields := r.GetDynamicMetadata().GetFields()
		paths, media := len(fields["filter_paths"].GetListValue().GetValues()), len(fields["filter_media"].GetListValue().GetValues())
		if paths != len(tt.remove) || media != len(tt.media) || fields["filter_safe"].GetStringValue() != tt.safe || (fields["filter"] != nil) != (len(tt.remove) > 0) {
			t.Errorf("%s: metadata %v, want %d paths, %d types, safe %q", tt.name, fields, len(tt.remove), len(tt.media), tt.safe)
		}
		if _, there := fields["filter_media"]; there != (len(tt.media) > 0) {
			t.Errorf("%s: filter_media is there: %v", tt.name, there)
		}
	}
}
