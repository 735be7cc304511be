// Command mesh renders deploy/istio and deploy/envoy-gateway to the Envoy
// configuration that their own control planes make of them, for the tests of
// the repository's package envoy, which run real Envoy on it. It takes minutes
// to build, so what it writes is kept in testdata. `make mesh-render` runs it.
package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	metricsv3 "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"sigs.k8s.io/yaml"
)

const root = "../../.." // of the repository, from this folder

// config is what a control plane sends to the Envoy at the edge.
type config struct {
	listener *listenerv3.Listener // the one for clients
	routes   *routev3.RouteConfiguration
	clusters []*clusterv3.Cluster
	stats    *metricsv3.StatsConfig // of its bootstrap; nil: Envoy's defaults
}

// target is a folder of manifests.
type target struct {
	name   string
	files  []string // of the rendering, in order
	by     string
	render func(texts map[string]string) (config, error)
}

func main() {
	for _, t := range []target{istio, bare, gateway, unpatched} {
		if err := t.write(); err != nil {
			fmt.Fprintf(os.Stderr, "render deploy/%s: %v\n", t.name, err)
			os.Exit(1)
		}
	}
}

// write writes the rendering, after what it was made of: a test compares that
// with the files as they are.
func (t target) write() error {
	texts, sum := map[string]string{}, sha256.New()
	for _, file := range t.files {
		data, err := os.ReadFile(filepath.Join(root, file))
		if err != nil {
			return err
		}
		texts[filepath.Base(file)] = string(data)
		sum.Write(data)
	}
	c, err := t.render(texts)
	if err != nil {
		return err
	}
	static, removed, err := c.static()
	if err != nil {
		return err
	}
	text, err := asYAML(static)
	if err != nil {
		return err
	}
	head := fmt.Sprintf("# Made by `make mesh-render`, by %s. Not to be edited.\n# From: %s\n# sha256 of these: %x\n# Removed, as only that proxy has it: %s\n",
		t.by, strings.Join(t.files, " "), sum.Sum(nil), strings.Join(removed, " "))
	return os.WriteFile(filepath.Join("testdata", t.name+".yaml"), []byte(head+text), 0o644)
}

// asYAML is the message with its keys in order, so that two runs agree.
func asYAML(b *bootstrap) (string, error) {
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(b)
	if err != nil {
		return "", err
	}
	var tree any
	if err := json.Unmarshal(data, &tree); err != nil {
		return "", err
	}
	text, err := yaml.Marshal(tree)
	return string(text), err
}
