package envoy

import (
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

//go:embed envoy.yaml
var shippedBootstrap string

// Addresses are what differs between the places that Envoy runs in. An empty
// field keeps the address that envoy.yaml ships with, which is compose's.
type Addresses struct {
	Listen   string // where clients connect: IP:port; port 0 takes a free one
	Admin    string // Envoy's own interface: IP:port
	Gate     string // the sidecar: unix:/path or IP:port
	Upstream string // the API: host:port
}

// Bootstrap is the shipped envoy.yaml with these addresses in it, byte for byte
// the same elsewhere. It fails on an address that is none, and where envoy.yaml
// does not hold each marked address exactly once.
func Bootstrap(a Addresses) ([]byte, error) {
	return fillAddresses(shippedBootstrap, a)
}

func fillAddresses(text string, a Addresses) ([]byte, error) {
	var pairs []string
	for _, slot := range []struct {
		name, addr, literal string
		render              func(addr string) (string, error)
	}{
		{"listen", a.Listen, "{socket_address: {address: 0.0.0.0, port_value: 10000}}", ipSocket},
		{"admin", a.Admin, "{socket_address: {address: 127.0.0.1, port_value: 9901}}", ipSocket},
		{"gate", a.Gate, "{pipe: {path: /run/postern/postern.sock}}", pipeOrSocket},
		{"upstream", a.Upstream, "{socket_address: {address: upstream, port_value: 8080}}", hostSocket},
	} {
		line := "address: " + slot.literal + " # address: " + slot.name + "\n"
		if n := strings.Count(text, line); n != 1 {
			return nil, fmt.Errorf("fill envoy.yaml: found %q %d times: want it once, spelled like this", strings.TrimSpace(line), n)
		}
		if slot.addr == "" {
			continue
		}
		value, err := slot.render(slot.addr)
		if err != nil {
			return nil, fmt.Errorf("fill envoy.yaml: %s address %q: %w", slot.name, slot.addr, err)
		}
		pairs = append(pairs, line, strings.Replace(line, slot.literal, value, 1))
	}
	return []byte(strings.NewReplacer(pairs...).Replace(text)), nil
}

func pipeOrSocket(addr string) (string, error) {
	path, isUnix := strings.CutPrefix(addr, "unix:")
	if !isUnix {
		return ipSocket(addr)
	}
	if !filepath.IsAbs(path) {
		return "", errors.New("want unix:/path, absolute")
	}
	if len(path) > 107 {
		return "", fmt.Errorf("the path has %d bytes: a unix socket's has at most 107", len(path))
	}
	return fmt.Sprintf("{pipe: {path: %q}}", path), nil
}

func ipSocket(addr string) (string, error) {
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	if _, err := netip.ParseAddr(host); err != nil {
		return "", fmt.Errorf("want IP:port: %w", err)
	}
	return hostSocket(addr)
}

func hostSocket(addr string) (string, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", err
	}
	if host == "" {
		return "", errors.New("want host:port")
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", fmt.Errorf("want a port number: %w", err)
	}
	return fmt.Sprintf("{socket_address: {address: %q, port_value: %d}}", host, n), nil
}
