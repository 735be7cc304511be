package helm

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	networking "k8s.io/api/networking/v1"
)

// What traces add to Envoy's configuration is what the page of deploy/traces shows.
func TestTracesAsThePage(t *testing.T) {
	var shown, added []string
	for _, m := range regexp.MustCompile(`(?m)^\+(.*)$`).FindAllStringSubmatch(read(t, root+"/deploy/traces/README.md"), -1) {
		shown = append(shown, m[1])
	}
	for _, file := range []string{"traces-headers.yaml", "traces.yaml", "traces-cluster.yaml"} {
		added = append(added, lines(t, file)...)
	}
	if !slices.Equal(shown, added) {
		t.Errorf("the chart's files/traces*.yaml are not the lines that deploy/traces/README.md adds:\n%s\nwant\n%s", strings.Join(added, "\n"), strings.Join(shown, "\n"))
	}
}

// With a collector the gate knows where it is, and the network policy lets it go there; without one there is nothing of it.
func TestTraces(t *testing.T) {
	const flag = "--trace-endpoint=http://otel.monitoring.svc:4319/v1/traces"
	ports := map[string]string{"everything": "4318", "everything-service": "4319"} // of the collector's pods, as the values have it
	for name, values := range settings(t) {
		all := load(t, values)
		for id, pod := range all.pods() {
			for _, c := range containers(pod.Spec) {
				wants := ports[name] != "" && c.Name == "postern" && !strings.HasSuffix(id, "-admin")
				if slices.Contains(c.Args, flag) != wants || strings.Contains(strings.Join(c.Args, " "), "--trace-endpoint") != wants {
					t.Errorf("%s: %s of %s has the arguments %v", name, c.Name, id, c.Args)
				}
			}
		}
		for id, o := range all {
			policy, ok := o.(*networking.NetworkPolicy)
			if !ok {
				continue
			}
			want, got := "", ""
			if strings.HasSuffix(id, "-gate") {
				want = ports[name]
			}
			for _, rule := range policy.Spec.Egress {
				if port := rule.Ports[0].Port.String(); port == "4318" || port == "4319" {
					got += port
				}
			}
			if got != want {
				t.Errorf("%s: %s lets pods go to the collector's port %q, want %q", name, id, got, want)
			}
		}
	}
}
