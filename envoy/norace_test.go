//go:build !race

package envoy_test

const slowdown = 1
