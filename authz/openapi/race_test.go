//go:build race

package openapi

// slowdown is what the race detector costs.
const slowdown = 10
