package helm

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/yaml"
)

// peers is what is read of Istio's PeerAuthentication.
type peers struct {
	Kind string
	Spec struct {
		Selector      struct{ MatchLabels map[string]string }
		PortLevelMtls map[string]any
	}
}

// The meshes' manifests find the pods and the port of the chart's gate, and of
// its pods no others.
func TestMeshesFindTheGate(t *testing.T) {
	all := load(t, settings(t)["mesh"], "{admin: {enabled: true, insecure: true, tokens: {secret: admin}}, redis: {secret: null, bundled: {enabled: true}}}")
	var p peers
	for doc := range strings.SplitSeq(read(t, root+"/deploy/istio/check.yaml"), "\n---\n") {
		if one := (peers{}); yaml.Unmarshal([]byte(doc), &one) == nil && one.Kind == "PeerAuthentication" {
			p = one
		}
	}
	selector := labels.SelectorFromSet(p.Spec.Selector.MatchLabels)
	if selector.Empty() || len(all.pods()) < 3 {
		t.Fatalf("PeerAuthentication selects by %v, among %d kinds of pods: want labels, and three kinds", p.Spec.Selector, len(all.pods()))
	}
	for id, pod := range all.pods() {
		if got, want := selector.Matches(labels.Set(pod.Labels)), id == "Deployment/gate"; got != want {
			t.Errorf("PeerAuthentication selects %s: %v, want %v", id, got, want)
		}
	}
	ports := map[string]bool{}
	for _, c := range containers(get[*apps.Deployment](t, all, "Deployment/gate").Spec.Template.Spec) {
		for _, port := range c.Ports {
			ports[fmt.Sprint(port.ContainerPort)] = true
		}
	}
	for port := range p.Spec.PortLevelMtls {
		if !ports[port] {
			t.Errorf("PeerAuthentication names port %s, and the gate has %v", port, ports)
		}
	}
	port := get[*core.Service](t, all, "Service/gate").Spec.Ports[0].Port
	for file, pattern := range map[string]string{"istio/mesh.yaml": `service: postern\.postern\.svc\S*\n\s+port: (\d+)`, "envoy-gateway/policies.yaml": `name: postern, namespace: postern, port: (\d+)`} {
		found := regexp.MustCompile(pattern).FindAllStringSubmatch(strings.ReplaceAll(read(t, root+"/deploy/"+file), " # of deploy/helm, in mode service", ""), -1)
		for _, m := range found {
			if m[1] != fmt.Sprint(port) {
				t.Errorf("deploy/%s asks port %s, and the chart's Service has %d", file, m[1], port)
			}
		}
		if len(found) == 0 {
			t.Errorf("deploy/%s names no Service of the gate", file)
		}
	}
}
