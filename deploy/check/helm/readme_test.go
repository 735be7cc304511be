package helm

import (
	"regexp"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/strvals"
	core "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// The chart's README leads to something that runs: its values are the chart's, and the Secret that it has one make holds what the pods look for.
func TestReadme(t *testing.T) {
	text := read(t, chartDir+"/README.md")
	_, block, _ := strings.Cut(text, "```sh\n")
	block, _, _ = strings.Cut(block, "```")
	commands := strings.Split(strings.TrimSpace(strings.ReplaceAll(block, "\\\n", "")), "\n")
	if len(commands) > 5 {
		t.Errorf("%d commands, want five at most", len(commands))
	}
	values := map[string]any{"catalog": map[string]any{"inline": "a"}}
	for _, m := range regexp.MustCompile(`--set (\S+)`).FindAllStringSubmatch(block, -1) {
		must(t, strvals.ParseInto(m[1], values))
	}
	data, err := yaml.Marshal(values)
	must(t, err)
	for id, pod := range load(t, string(data)).pods() {
		for _, v := range pod.Spec.Volumes {
			if v.Secret != nil && !strings.Contains(block, "secret generic "+v.Secret.SecretName+" --from-file="+v.Secret.Items[0].Key+" ") {
				t.Errorf("%s mounts %s of Secret %s, which the README does not make", id, v.Secret.Items[0].Key, v.Secret.SecretName)
			}
		}
		for _, c := range containers(pod.Spec) {
			for _, e := range c.Env {
				if e.ValueFrom != nil && !made(block, e.ValueFrom.SecretKeyRef) {
					t.Errorf("%s: %s needs %v, which the README does not make", id, e.Name, e.ValueFrom.SecretKeyRef)
				}
			}
		}
	}
	for _, m := range regexp.MustCompile("`([a-z][A-Za-z]*(?:\\.[a-zA-Z]+)+)[:`]").FindAllStringSubmatch(text, -1) {
		if !known(t, strings.Split(m[1], ".")) {
			t.Errorf("the README names %s, which is no value", m[1])
		}
	}
}

func made(block string, ref *core.SecretKeySelector) bool {
	return strings.Contains(block, "secret generic "+ref.Name+" ") && strings.Contains(block, "--from-literal="+ref.Key+"=")
}

// known reports whether values.yaml has the value, or it names a file or a Service.
func known(t *testing.T, path []string) bool {
	if last := path[len(path)-1]; last == "yaml" || last == "json" || last == "svc" {
		return true
	}
	var at any = loadChart(t).Values
	for _, key := range path {
		m, _ := at.(map[string]any)
		if at = m[key]; at == nil {
			return false
		}
	}
	return true
}
