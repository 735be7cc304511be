package deploy

import (
	"os"
	"os/exec"
	"reflect"
	"regexp"
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

// What the page says to copy is there, by these names.
func TestEnvoyPageNames(t *testing.T) {
	shipped, names := readText(t, "../envoy/envoy.yaml"), 0
	for line := range strings.Lines(section(readText(t, "envoy/README.md"), "By a static bootstrap")) {
		columns := strings.Split(line, "|")
		if len(columns) != 4 {
			continue
		}
		for _, m := range codeSpan.FindAllStringSubmatch(columns[1], -1) {
			if names++; m[1] != "upgrade_configs" && m[1] != "xff_num_trusted_hops" && !strings.Contains(shipped, m[1]) {
				t.Errorf("envoy/README.md says to copy %s, which envoy.yaml does not have", m[1])
			}
		}
	}
	if names < 25 {
		t.Errorf("the page names %d things to copy: want 25 or more", names)
	}
}

var (
	codeSpan = regexp.MustCompile("`([^`]+)`")
	checking = regexp.MustCompile(`(?m)^(curl -i .*?) +# (\d{3})(.*)$`)
)

// The page's checks give what it says they give.
func TestEnvoyPageChecks(t *testing.T) {
	s := newStack(t)
	s.serve()
	proxy, token := s.envoy(nil), s.mint("m-1", "trackOrder")
	steps := checking.FindAllStringSubmatch(section(readText(t, "envoy/README.md"), "Check it"), -1)
	if len(steps) != 7 {
		t.Fatalf("the page has %d checks, want 7", len(steps))
	}
	for _, step := range steps {
		if strings.Contains(step[3], "stopped") {
			s.stop()
		}
		if got := curled(t, step[1], "ENVOY="+proxy.Listen, "SECRET="+token); got != step[2] {
			t.Errorf("%s\ngives %s, want %s", step[1], got, step[2])
		}
		h := s.upstream.last()
		if (h != nil) != (step[2] == "200") || h != nil && (h.Get("X-Merchant-Id") != "m-1" || h.Get("Authorization") != "") {
			t.Errorf("%s\nbrings the upstream %v", step[1], h)
		}
	}
}

// curled is the status that a page's curl prints, with these variables.
func curled(t *testing.T, line string, env ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-uc", strings.Replace(line, "curl -i", "curl -s -o /dev/null -w '%{http_code}'", 1))
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.Output()
	if err != nil {
		t.Errorf("%s: %v", line, err)
	}
	return string(out)
}

// The page's lock refuses what skips the check, and without it that passes.
func TestEnvoyPageLock(t *testing.T) {
	s := newStack(t)
	s.serve()
	const settings = "                    check_settings:\n"
	unchecked := func(bootstrap string) string {
		before, after, _ := strings.Cut(bootstrap, settings)
		_, after, found := strings.Cut(after, "context_extensions: {postern-filter: v1}\n")
		if !found {
			t.Fatal("envoy.yaml has no settings of the check to take out")
		}
		return before + "                    disabled: true\n" + after
	}
	lock, token := edited(t, "envoy/README.md"), s.mint("m-1", "trackOrder")
	if r, _ := get(t, s.envoy(unchecked).Listen, track, ""); r.StatusCode != 200 || s.upstream.last() == nil {
		t.Errorf("control: what skips the check without the lock = %d, want 200", r.StatusCode)
	}
	proxy := s.envoy(func(bootstrap string) string { return unchecked(lock(bootstrap)) })
	if r, _ := get(t, proxy.Listen, track, token); r.StatusCode != 403 || s.upstream.last() != nil {
		t.Errorf("what skips the check = %d, want 403, and nothing at the upstream", r.StatusCode)
	}
	locked := s.envoy(lock)
	for path, want := range map[string]int{track: 200, label: 403} {
		if r, body := get(t, locked.Listen, path, token); r.StatusCode != want {
			t.Errorf("with the lock, %s = %d %s, want %d", path, r.StatusCode, body, want)
		}
	}
}

func tree(t *testing.T, file string) (all map[string]any) {
	t.Helper()
	if err := yaml.Unmarshal([]byte(readText(t, file)), &all); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return all
}
