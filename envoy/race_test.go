//go:build race

package envoy_test

// slowdown is what the race detector costs.
const slowdown = 20
