package envoy

import (
	"strings"
	"testing"
)

func TestBootstrapKeepsWhatShips(t *testing.T) {
	got, err := Bootstrap(Addresses{})
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != shippedBootstrap {
		t.Error("an empty Addresses changed the bootstrap")
	}
}

// Every line of the result is the shipped one, save the four with an address.
func TestBootstrapReplacesFourLines(t *testing.T) {
	got, err := Bootstrap(Addresses{
		Listen:   "127.0.0.1:0",
		Admin:    "0.0.0.0:10000", // what ships elsewhere: must not be replaced once more
		Gate:     `unix:/a "b"/gate.sock`,
		Upstream: "api.internal:80",
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"admin":    `address: {socket_address: {address: "0.0.0.0", port_value: 10000}}`,
		"listen":   `address: {socket_address: {address: "127.0.0.1", port_value: 0}}`,
		"gate":     `address: {pipe: {path: "/a \"b\"/gate.sock"}}`,
		"upstream": `address: {socket_address: {address: "api.internal", port_value: 80}}`,
	}
	lines, before := strings.Split(string(got), "\n"), strings.Split(shippedBootstrap, "\n")
	if len(lines) != len(before) {
		t.Fatalf("the result has %d lines, want %d", len(lines), len(before))
	}
	for i, line := range lines {
		if line == before[i] {
			continue
		}
		value, name, _ := strings.Cut(strings.TrimSpace(line), " # address: ")
		if value != want[name] {
			t.Errorf("line %d became %q, want %q", i+1, value, want[name])
		}
		delete(want, name)
	}
	for name := range want {
		t.Errorf("the %s address was not replaced", name)
	}
}

func TestBootstrapGateOverTCP(t *testing.T) {
	got, err := Bootstrap(Addresses{Gate: "[::1]:9000"})
	if err != nil {
		t.Fatal(err)
	}
	if want := `address: {socket_address: {address: "::1", port_value: 9000}} # address: gate`; strings.Count(string(got), want) != 1 {
		t.Errorf("want %q once in\n%s", want, got)
	}
}

func TestBootstrapRefusesAddresses(t *testing.T) {
	for _, tt := range []struct {
		name string
		addr Addresses
		want string
	}{
		{"listen without port", Addresses{Listen: "127.0.0.1"}, "listen address"},
		{"listen by name", Addresses{Listen: "localhost:80"}, "want IP:port"},
		{"admin port too high", Addresses{Admin: "127.0.0.1:65536"}, "want a port number"},
		{"gate by name", Addresses{Gate: "gate:9000"}, "want IP:port"},
		{"gate's path relative", Addresses{Gate: "unix:postern.sock"}, "absolute"},
		{"gate's path too long", Addresses{Gate: "unix:/" + strings.Repeat("p", 107)}, "at most 107"},
		{"upstream without host", Addresses{Upstream: ":8080"}, "want host:port"},
		{"upstream is a URL", Addresses{Upstream: "http://api:8080"}, "upstream address"},
	} {
		if _, err := Bootstrap(tt.addr); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, tt.want)
		}
	}
}

// An envoy.yaml whose marked lines were edited is an error, even where the
// address would be kept.
func TestBootstrapRefusesUnmarked(t *testing.T) {
	for _, tt := range []struct{ name, old, new string }{
		{"other port", "port_value: 10000", "port_value: 10001"},
		{"marker gone", " # address: gate", ""},
		{"marker moved", "# address: admin", "# address: listen"},
		{"twice", "overload_manager:", "address: {pipe: {path: /run/postern/postern.sock}} # address: gate\noverload_manager:"},
	} {
		text := strings.Replace(shippedBootstrap, tt.old, tt.new, 1)
		if text == shippedBootstrap {
			t.Fatalf("%s: envoy.yaml does not hold %q", tt.name, tt.old)
		}
		if _, err := fillAddresses(text, Addresses{}); err == nil || !strings.Contains(err.Error(), "want it once") {
			t.Errorf("%s: error %v, want one with %q", tt.name, err, "want it once")
		}
	}
}
