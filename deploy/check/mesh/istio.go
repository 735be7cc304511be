package main

import (
	_ "istio.io/istio/pilot/test/xds"
	_ "istio.io/istio/pkg/test"
	_ "sigs.k8s.io/yaml"
)
func main(){}
