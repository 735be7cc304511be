package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
	istiobootstrap "istio.io/istio/pkg/bootstrap"
	"istio.io/istio/pkg/config/mesh"
	"istio.io/istio/pkg/config/validation/agent"
	"istio.io/istio/pkg/test"
	"sigs.k8s.io/yaml"
)

var istio = target{
	name: "istio", by: "the generator of istio.io/istio v0.0.0-20260827124520-eed52ebb66ad (1.31)",
	files: []string{
		"deploy/istio/check.yaml", "deploy/istio/envoyfilter.yaml", "deploy/istio/gateway.yaml", "deploy/istio/mesh.yaml",
		"deploy/check/mesh/testdata/istio-cluster.yaml", "deploy/check/mesh/istio.go", "deploy/check/mesh/static.go",
	},
	render: renderIstio,
}

// bare is the same after the EnvoyFilter is deleted, or when an upgrade of Istio
// makes it match nothing.
var bare = target{
	name: "istio-bare", by: istio.by,
	files:  slices.DeleteFunc(slices.Clone(istio.files), func(file string) bool { return strings.HasSuffix(file, "/envoyfilter.yaml") }),
	render: renderIstio,
}

// renderIstio asks the code of istiod what it would send to the gateway.
func renderIstio(texts map[string]string) (c config, err error) {
	m, err := meshConfig(texts["mesh.yaml"])
	if err != nil {
		return c, err
	}
	failed := test.Wrap(func(t test.Failer) {
		server := xds.NewFakeDiscoveryServer(t, xds.FakeOptions{
			KubernetesObjectString: texts["istio-cluster.yaml"],
			ConfigString:           strings.Join([]string{texts["gateway.yaml"], texts["check.yaml"], texts["envoyfilter.yaml"]}, "\n---\n"),
			MeshConfig:             m,
		})
		labels := map[string]string{"istio": "ingress"}
		proxy := server.SetupProxy(&model.Proxy{
			Type: model.Router, ConfigNamespace: "istio-ingress", Labels: labels,
			Metadata: &model.NodeMetadata{Namespace: "istio-ingress", Labels: labels, IstioVersion: "1.31.0"},
		})
		err = c.of(server, proxy)
	})
	if err == nil {
		err = failed
	}
	if err == nil {
		c.stats, err = statsOf(m)
	}
	return c, err
}

// statsOf is what the bootstrap of Istio's proxies says of statistics: which
// there are, and what they are called.
func statsOf(m *v1alpha1.MeshConfig) (*metricsv3.StatsConfig, error) {
	dir, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", "istio.io/istio").Output()
	if err != nil {
		return nil, fmt.Errorf("find istio.io/istio: %w", err)
	}
	node := &model.Node{ID: "router~1.1.1.1~gateway.istio-ingress~istio-ingress.svc.cluster.local", Locality: &corev3.Locality{}, Metadata: &model.BootstrapNodeMetadata{
		NodeMetadata: model.NodeMetadata{Namespace: "istio-ingress", ProxyConfig: (*model.NodeMetaProxyConfig)(m.DefaultConfig)}}}
	var text bytes.Buffer
	template := filepath.Join(strings.TrimSpace(string(dir)), "tools/packaging/common/envoy_bootstrap.json")
	if err := istiobootstrap.New(istiobootstrap.Config{Node: node}).WriteTo(template, &text); err != nil {
		return nil, err
	}
	var all struct {
		Stats json.RawMessage `json:"stats_config"`
	}
	if err := json.Unmarshal(text.Bytes(), &all); err != nil {
		return nil, err
	}
	stats := &metricsv3.StatsConfig{}
	return stats, protojson.Unmarshal(all.Stats, stats)
}

// of takes what is sent to proxy.
func (c *config) of(server *xds.FakeDiscoveryServer, proxy *model.Proxy) error {
	listeners, routes := server.Listeners(proxy), server.Routes(proxy)
	if len(listeners) != 1 || len(routes) != 1 {
		return fmt.Errorf("the gateway has %d listeners and %d route tables: want one of each", len(listeners), len(routes))
	}
	c.listener, c.routes = listeners[0], routes[0]
	for _, cluster := range server.Clusters(proxy) {
		if strings.HasPrefix(cluster.Name, "outbound|9000||postern.") || strings.HasPrefix(cluster.Name, "outbound|8080||api.") {
			c.clusters = append(c.clusters, cluster)
		}
	}
	return nil
}

// meshConfig is what istiod makes of the chart's values, over its defaults.
func meshConfig(text string) (*v1alpha1.MeshConfig, error) {
	var values struct{ MeshConfig map[string]any }
	if err := yaml.UnmarshalStrict([]byte(text), &values); err != nil {
		return nil, err
	}
	part, err := yaml.Marshal(values.MeshConfig)
	if err != nil {
		return nil, err
	}
	m, err := mesh.ApplyMeshConfig(string(part), mesh.DefaultMeshConfig())
	if err != nil {
		return nil, err
	}
	_, err = agent.ValidateMeshConfig(m)
	return m, err
}
