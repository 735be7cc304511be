// Package helm tests the chart of deploy/helm/postern without a cluster: what it renders is read strictly into Kubernetes's own types, held
// against Pod Security, and its containers' commands are run.
package helm

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	chart "helm.sh/helm/v4/pkg/chart/v2"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
)

const (
	root     = "../../.." // of the repository
	chartDir = root + "/deploy/helm/postern"
)

// aRule stands for the alert rules, whose text is full of what Helm's templates are written with.
const aRule = `groups:
- name: test
  rules:
  - alert: Test
    expr: up == 0
    annotations: {summary: "{{ $labels.pod }} is {{ $value | humanize }}"}
`

func loadChart(t *testing.T) *chart.Chart {
	t.Helper()
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	c.Files = append(c.Files, &common.File{Name: "files/alerts/test.yaml", Data: []byte(aRule)})
	return c
}

// render is what `helm install shop CHART --namespace edge` with these values would send, by template. Values are YAML; they come one over the other.
func render(t *testing.T, values ...string) (map[string]string, error) {
	t.Helper()
	merged := map[string]any{}
	for _, text := range values {
		v, err := loader.LoadValues(strings.NewReader(text))
		if err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		merged = loader.MergeMaps(merged, v)
	}
	c := loadChart(t)
	release := common.ReleaseOptions{Name: "shop", Namespace: "edge", IsInstall: true}
	v, err := util.ToRenderValues(c, merged, release, common.DefaultCapabilities)
	if err != nil {
		return nil, err
	}
	return engine.Render(c, v)
}

// renderAll is the same as one text, without the notes.
func renderAll(t *testing.T, values ...string) string {
	t.Helper()
	files, err := render(t, values...)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if strings.HasSuffix(name, ".yaml") {
			all = append(all, files[name])
		}
	}
	return strings.Join(all, "\n---\n")
}

// settings are the values files, with a catalog where they name none.
func settings(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("testdata/values/*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatalf("found %d files of values (%v), want 6 at least", len(files), err)
	}
	all := map[string]string{}
	for _, file := range files {
		text := read(t, file)
		if !strings.Contains(text, "catalog:") {
			text += "\ncatalog: {inline: \"openapi: 3.0.0\\npaths: {}\\n\"}\n"
		}
		all[strings.TrimSuffix(filepath.Base(file), ".yaml")] = text
	}
	return all
}

func read(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestLint(t *testing.T) {
	cases := settings(t)
	cases["defaults"] = ""
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			values, err := loader.LoadValues(strings.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range lint.RunAll(chartDir, values, "edge").Messages {
				if !strings.Contains(m.Error(), "icon is recommended") {
					t.Error(m)
				}
			}
		})
	}
}

// The chart's files are copies, as Helm reads nothing outside a chart.
func TestCopies(t *testing.T) {
	want := map[string]string{"envoy.yaml": read(t, root+"/envoy/envoy.yaml")}
	rules, err := filepath.Glob(root + "/deploy/alerts/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range rules {
		want["alerts/"+filepath.Base(file)] = read(t, file)
	}
	const own = "ops-listener.yaml ops-cluster.yaml traces.yaml traces-headers.yaml traces-cluster.yaml"
	for _, f := range loadChart(t).Files {
		name, isFile := strings.CutPrefix(f.Name, "files/")
		if !isFile || strings.Contains(own, name) || name == "alerts/test.yaml" {
			continue
		}
		if want[name] != string(f.Data) {
			t.Errorf("%s of the chart is not the repository's: run `make chart-files`", f.Name)
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("files/%s is missing in the chart: run `make chart-files`", name)
	}
}

// What Envoy runs with is envoy.yaml, apart from what is named here.
func TestBootstrapDiffersAsNamed(t *testing.T) {
	shipped := strings.Split(read(t, root+"/envoy/envoy.yaml"), "\n")
	got := strings.Split(strings.TrimRight(bootstrap(t, settings(t)["everything"]), "\n")+"\n", "\n")
	added := []string{`            address: {socket_address: {address: "api.shop.svc", port_value: 80}} # address: upstream`, "          xff_num_trusted_hops: 1"}
	for _, file := range []string{"ops-listener.yaml", "ops-cluster.yaml", "traces-headers.yaml"} {
		added = append(added, lines(t, file)...)
	}
	traces := append(lines(t, "traces.yaml"), lines(t, "traces-cluster.yaml")...)
	added = append(added, strings.Split(strings.NewReplacer("//collector:4318", "//otel.monitoring.svc:4319", "{value: 1}", "{value: 0.5}",
		"{address: collector, port_value: 4318}", `{address: "otel.monitoring.svc", port_value: 4319}`).Replace(strings.Join(traces, "\n")), "\n")...)
	removed := []string{"            address: {socket_address: {address: upstream, port_value: 8080}} # address: upstream"}
	if d := less(got, shipped); !slices.Equal(sorted(d), sorted(less(added, shipped))) {
		t.Errorf("lines added:\n%s", strings.Join(d, "\n"))
	}
	if d := less(shipped, got); !slices.Equal(d, removed) {
		t.Errorf("lines taken out:\n%s", strings.Join(d, "\n"))
	}
	if n := len(shipped) + len(added) - len(removed); len(got) != n {
		t.Errorf("%d lines, want %d", len(got), n)
	}
}

func lines(t *testing.T, file string) []string {
	return strings.Split(strings.TrimSuffix(read(t, chartDir+"/files/"+file), "\n"), "\n")
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

// less are the lines of a that are not in b.
func less(a, b []string) (rest []string) {
	for _, line := range a {
		if !slices.Contains(b, line) {
			rest = append(rest, line)
		}
	}
	return rest
}

func TestNotes(t *testing.T) {
	files, err := render(t, settings(t)["trial"])
	if err != nil {
		t.Fatal(err)
	}
	notes := files["postern/templates/NOTES.txt"]
	for _, want := range []string{"kubectl -n edge exec deploy/shop-postern -c postern -- /postern merchant create m-1", "svc/shop-postern 10000:80", "WARNING"} {
		if !strings.Contains(notes, want) {
			t.Errorf("the notes lack %q:\n%s", want, notes)
		}
	}
}

// Rules come out as they are: what is written in them like a template is Prometheus's to fill.
func TestRules(t *testing.T) {
	all := load(t, settings(t)["everything-service"])
	rule := get[*monitoring.PrometheusRule](t, all, "PrometheusRule/shop-postern-test").Spec.Groups[0].Rules[0]
	if got, want := rule.Annotations["summary"], "{{ $labels.pod }} is {{ $value | humanize }}"; got != want {
		t.Errorf("the summary is %q, want %q", got, want)
	}
}
