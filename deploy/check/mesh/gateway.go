package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"

	adminv3 "github.com/envoyproxy/go-control-plane/envoy/admin/v3"
	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/encoding/protojson"
)

var gateway = target{
	name: "envoy-gateway", by: "egctl of Envoy Gateway v1.9.1",
	files: []string{
		"deploy/envoy-gateway/gateway.yaml", "deploy/envoy-gateway/log.yaml", "deploy/envoy-gateway/patches.yaml", "deploy/envoy-gateway/policies.yaml",
		"deploy/check/mesh/testdata/envoy-gateway-cluster.yaml", "deploy/check/mesh/gateway.go", "deploy/check/mesh/static.go",
	},
	render: renderGateway,
}

// unpatched is the same where Envoy Gateway takes no EnvoyPatchPolicy.
var unpatched = target{
	name: "envoy-gateway-unpatched", by: gateway.by,
	files:  slices.DeleteFunc(slices.Clone(gateway.files), func(file string) bool { return strings.HasSuffix(file, "/patches.yaml") }),
	render: renderGateway,
}

// renderGateway has egctl translate, which checks the manifests by their schemas.
func renderGateway(texts map[string]string) (config, error) {
	var all strings.Builder
	for name, text := range texts {
		if strings.HasSuffix(name, ".yaml") {
			all.WriteString(text + "\n---\n")
		}
	}
	cmd := exec.Command("go", "tool", "egctl", "x", "translate", "--from", "gateway-api", "--to", "gateway-api,xds", "-o", "json", "-f", "/dev/stdin")
	cmd.Stdin, cmd.Stderr = strings.NewReader(all.String()), os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return config{}, fmt.Errorf("egctl: %w", err)
	}
	if err := accepted(out); err != nil {
		return config{}, err
	}
	var dump struct {
		Xds map[string]struct{ Configs []json.RawMessage }
	}
	if err := json.Unmarshal(out, &dump); err != nil {
		return config{}, err
	}
	return readDump(dump.Xds["edge/public"].Configs)
}

// accepted looks for conditions that say no, of any resource.
func accepted(out []byte) error {
	var tree any
	if err := json.Unmarshal(out, &tree); err != nil {
		return err
	}
	return walk(tree, func(m map[string]any) error {
		if m["status"] == "False" && m["reason"] != nil {
			return fmt.Errorf("Envoy Gateway says %v: %v", m["reason"], m["message"])
		}
		return nil
	})
}

func walk(tree any, visit func(map[string]any) error) error {
	var below []any
	switch node := tree.(type) {
	case map[string]any:
		if err := visit(node); err != nil {
			return err
		}
		for _, v := range node {
			below = append(below, v)
		}
	case []any:
		below = node
	}
	for _, v := range below {
		if err := walk(v, visit); err != nil {
			return err
		}
	}
	return nil
}

// readDump finds the listener for clients, its routes and the clusters.
func readDump(configs []json.RawMessage) (c config, err error) {
	for _, raw := range configs {
		var kind struct {
			Type string `json:"@type"`
		}
		if err := json.Unmarshal(raw, &kind); err != nil {
			return c, err
		}
		switch {
		case strings.HasSuffix(kind.Type, ".ListenersConfigDump"):
			err = c.listeners(raw)
		case strings.HasSuffix(kind.Type, ".RoutesConfigDump"):
			err = c.route(raw)
		case strings.HasSuffix(kind.Type, ".ClustersConfigDump"):
			err = c.cluster(raw)
		}
		if err != nil {
			return c, err
		}
	}
	if c.listener == nil || c.routes == nil {
		return c, fmt.Errorf("%d dumps hold no listener edge/public/http, or no routes", len(configs))
	}
	return c, nil
}

var known = protojson.UnmarshalOptions{}

func untyped(raw json.RawMessage) ([]byte, error) {
	var m map[string]json.RawMessage
	err := json.Unmarshal(raw, &m)
	delete(m, "@type")
	if err != nil {
		return nil, err
	}
	return json.Marshal(m)
}

func (c *config) listeners(raw json.RawMessage) error {
	var dump adminv3.ListenersConfigDump
	data, err := untyped(raw)
	if err == nil {
		err = known.Unmarshal(data, &dump)
	}
	for _, d := range dump.DynamicListeners {
		var l listenerv3.Listener
		if err := d.ActiveState.Listener.UnmarshalTo(&l); err != nil {
			return err
		}
		if l.Name == "edge/public/http" {
			c.listener = &l
		}
	}
	return err
}

func (c *config) route(raw json.RawMessage) error {
	var dump adminv3.RoutesConfigDump
	data, err := untyped(raw)
	if err == nil {
		err = known.Unmarshal(data, &dump)
	}
	for _, d := range dump.DynamicRouteConfigs {
		c.routes = &routev3.RouteConfiguration{}
		if err := d.RouteConfig.UnmarshalTo(c.routes); err != nil {
			return err
		}
	}
	return err
}

func (c *config) cluster(raw json.RawMessage) error {
	var dump adminv3.ClustersConfigDump
	data, err := untyped(raw)
	if err == nil {
		err = known.Unmarshal(data, &dump)
	}
	for _, d := range dump.DynamicActiveClusters {
		var one clusterv3.Cluster
		if err := d.Cluster.UnmarshalTo(&one); err != nil {
			return err
		}
		c.clusters = append(c.clusters, &one)
	}
	return err
}
