// Package grafana checks the dashboard against Grafana's own Go types. It is a
// module of its own, so that these are no dependency of the gate.
package grafana

import (
	"os"
	"strings"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

const file = "../../dashboards/postern.json"

// TestDashboard reads the dashboard strictly: a field that Grafana does not know,
// or of another type, is an error, in panels and queries too.
func TestDashboard(t *testing.T) {
	plugins.RegisterDefaultPlugins()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if faults := faultsOf(data); faults != "" {
		t.Errorf("%s: %s", file, faults)
	}
	for old, wrong := range map[string]string{
		`"gridPos"`:       `"gridPosition"`,
		`"unit": "reqps"`: `"unit": 1`,
		`"expr"`:          `"expression"`,
		`"fillOpacity"`:   `"opacity"`,
	} {
		changed := strings.Replace(string(data), old, wrong, 1)
		if changed == string(data) || faultsOf([]byte(changed)) == "" {
			t.Errorf("with %s in the place of %s it is taken all the same: this test shows nothing", wrong, old)
		}
	}
}

// faultsOf is what Grafana's types find wrong.
func faultsOf(data []byte) string {
	//lint:ignore SA1019 it is the form that every Grafana imports; the newer one is not
	var d dashboard.Dashboard
	err := d.UnmarshalJSONStrict(data)
	if err != nil && err.Error() != "" { // where there is none, it is an empty list of errors
		return err.Error()
	}
	if err := d.Validate(); err != nil {
		return err.Error()
	}
	if len(d.Panels) < 30 {
		return "it has fewer than 30 panels"
	}
	return ""
}
