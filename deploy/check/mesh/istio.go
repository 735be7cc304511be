package main

import (
	"fmt"
	"strings"

	"istio.io/api/mesh/v1alpha1"
	"istio.io/istio/pilot/pkg/model"
	"istio.io/istio/pilot/test/xds"
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
	return c, err
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
