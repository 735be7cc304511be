package deploy

import (
	"os"
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// made is the first line of each file that is made of another.
const made = "# Made of envoy/envoy.yaml, where the reasons are: see README.md here. Do not edit: POSTERN_UPDATE=1 go test ./deploy makes it.\n"

// dynamic is what bootstrap.yaml has in the place of envoy.yaml's listener and
// clusters.
const dynamic = `# Who this Envoy is, to a control plane. Files need none; Envoy demands it.
node: {id: edge-1, cluster: edge}
dynamic_resources:
  # A file is read again when one is moved into the watched folder, as mv and Kubernetes do; one that is written in place may be read half.
  cds_config: {resource_api_version: V3, path_config_source: {path: /etc/envoy/xds/cds.yaml, watched_directory: {path: /etc/envoy/xds}}}
  lds_config: {resource_api_version: V3, path_config_source: {path: /etc/envoy/xds/lds.yaml, watched_directory: {path: /etc/envoy/xds}}}
`

// split is envoy.yaml, as files that are fetched by xDS and a bootstrap that
// fetches them.
func split(t *testing.T, text string) map[string]string {
	t.Helper()
	var parts []string
	for _, head := range []string{"\nadmin:\n", "\nstatic_resources:\n  listeners:\n", "\n  clusters:\n", "\noverload_manager:\n"} {
		before, after, found := strings.Cut(text, head)
		if !found {
			t.Fatalf("envoy.yaml has no %q, or not in this order", head)
		}
		parts, text = append(parts, before), after
	}
	return map[string]string{
		"bootstrap.yaml": made + "admin:\n" + parts[1] + "\n" + dynamic + "overload_manager:\n" + text,
		"lds.yaml":       made + "resources:\n" + resources(parts[2], "type.googleapis.com/envoy.config.listener.v3.Listener"),
		"cds.yaml":       made + "resources:\n" + resources(parts[3], "type.googleapis.com/envoy.config.cluster.v3.Cluster"),
	}
}

// resources gives each item of a list in envoy.yaml the type that xDS demands.
func resources(list, kind string) string {
	list = strings.ReplaceAll("\n"+list, "\n  ", "\n")
	return strings.ReplaceAll(list, "\n- name: ", "\n- \"@type\": "+kind+"\n  name: ")[1:] + "\n"
}

// The files of xDS are envoy.yaml's. After a change of it, POSTERN_UPDATE=1
// writes them anew.
func TestXDSFiles(t *testing.T) {
	for name, want := range split(t, readText(t, "../envoy/envoy.yaml")) {
		if os.Getenv("POSTERN_UPDATE") == "1" {
			if err := os.WriteFile("envoy/"+name, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if readText(t, "envoy/"+name) != want {
			t.Errorf("deploy/envoy/%s is not made of envoy/envoy.yaml as it is: run POSTERN_UPDATE=1 go test ./deploy -run XDSFiles", name)
		}
	}
}

// To a reader of YAML too they say what envoy.yaml says: cutting text may go wrong.
func TestXDSFilesMean(t *testing.T) {
	want, got := tree(t, "../envoy/envoy.yaml"), tree(t, "envoy/bootstrap.yaml")
	static := want["static_resources"].(map[string]any)
	for name, kind := range map[string]string{"listeners": "listener.v3.Listener", "clusters": "cluster.v3.Cluster"} {
		fetched := tree(t, "envoy/"+name[:1]+"ds.yaml")["resources"].([]any)
		for _, r := range fetched {
			if r := r.(map[string]any); r["@type"] != "type.googleapis.com/envoy.config."+kind {
				t.Errorf("%s: a resource is of type %v", name, r["@type"])
			}
			delete(r.(map[string]any), "@type")
		}
		if !reflect.DeepEqual(fetched, static[name]) {
			t.Errorf("the %s by xDS are not those of envoy.yaml", name)
		}
	}
	delete(want, "static_resources")
	delete(got, "node")
	delete(got, "dynamic_resources")
	if !reflect.DeepEqual(got, want) {
		t.Errorf("bootstrap.yaml has %v beside what it fetches, want %v", got, want)
	}
}

func tree(t *testing.T, file string) (all map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(readText(t, file)), &all); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return all
}
