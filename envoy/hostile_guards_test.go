//go:build hostile

package envoy_test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/postern/postern/envoy"
	"github.com/postern/postern/envoy/envoyproc"
)

// guard is a place in the code that keeps something out. Without it, as text in
// the place of code, a row of the corpus fails.
type guard struct{ file, code, text, row string }

var guards = []guard{
	{"authz/template.go", `len(s) <= maxValue && `, ``, "value too long"},
	{"authz/template.go", `chars.holds(s) && strings`, `strings`, "parameter on a value"},
	{"authz/template.go", ` && strings.Trim(s, ".") != ""`, ``, "dots as a value"},
	{"authz/template.go", `0123456789._~-"`, `0123456789._~-%"`, "twice encoded dots"},
	{"authz/template.go", `0123456789._~-"`, `0123456789._~-;"`, "dots and a parameter"},
	{"authz/template.go", `0123456789._~-"`, `0123456789._~-+"`, "plus"},
	{"authz/template.go", `0123456789._~-"`, `0123456789._~-,"`, "comma"},
	{"authz/template.go", `0123456789._~-"`, `0123456789._~-!"`, "raw byte over HTTP/2"},
	{"authz/template.go", `0123456789._~-"`, `0123456789._~-\\"`, "backslash"},
	{"authz/template.go", "\tif !ok {\n\t\treturn false", "\tif !ok {\n\t\trest = path", "no leading slash, legacy"},
	{"authz/template.go", `if !isValue(segment, legacyChars)`, `if false && !isValue(segment, legacyChars)`, "legacy, parameter"},
	{"authz/match.go", "\tif !ok {\n\t\treturn nil\n\t}\n\tm := ", "\tif !ok {\n\t\trest = path\n\t}\n\tm := ", "no leading slash, to the gate"},
	{"authz/match.go", `n.literals[segment]`, `n.literals[strings.ToLower(segment)]`, "case of a literal"},
	{"authz/match.go", `m.exact = mostSpecific(m.exact)`, `_ = mostSpecific`, "control, a literal beats a parameter"},
	{"authz/match.go", `case next.route == nil:`, `case false:`, "above what is granted"},
	{"authz/match.go", "case e == nil:\n\t\t\tr.Endpoints = nil\n\t\t\treturn r", "case e == nil:", "ambiguous, a method that one lacks"},
	{"authz/match.go", `c == nil || !r.oneHost()`, `c == nil`, "two hosts"},
	{"authz/match.go", `value && next == nil`, `false && value && next == nil`, "literal in other case, for a value"},
	{"authz/match.go", `{lower, undotted, stem}`, `{lower, stem}`, "trailing dot on what hides a literal"},
	{"authz/match.go", `{lower, undotted, stem}`, `{lower, undotted, stem[:0]}`, "extension on what hides a literal"},
	{"authz/match.go", `lower[i] = b + 'a' - 'A'`, `_ = i`, "label in other case"},
	{"authz/secret.go", `case !s.DeletedAt.IsZero():`, `case false:`, "deleted"},
	{"authz/secret.go", `case !s.ExpiresAt.IsZero() && !now.Before(s.ExpiresAt):`, `case now.IsZero():`, "expired"},
	{"authz/secret.go", `case !address.IsValid():`, `case false:`, "address not told"},
	{"authz/secret.go", `if !slices.ContainsFunc(s.AllowIPs`, `if false && !slices.ContainsFunc(s.AllowIPs`, "address not allowed"},
	{"authz/secret.go", `r.Method != "" && `, ``, "empty method"},
	{"authz/secret.go", ` && tokenChars.holds(r.Method)`, ``, "method with a blank, legacy"},
	{"authz/secret.go", `method && r.oneHost() && `, `method && `, "two hosts, legacy"},
	{"authz/secret.go", `wellFormed(r.Path) || `, `true || `, "legacy, backslash"},
	{"authz/secret.go", `if len(r.Endpoints) == 0 {`, `if false {`, "parameter on a literal"},
	{"authz/secret.go", `if !covered {`, `if false && !covered {`, "control, deletes"},
	{"authz/secret.go", `len(remove) > 0 && !r.Filter`, `false`, "prices with no filter"},
	{"authz/secret.go", "range e.Fields {\n\t\tnamed", "range e.Fields[:0] {\n\t\tnamed", "a group the catalog gained"},
	{"authz/keyring.go", `if !k.Ours(t) {`, `if true {`, "lost by the store"},
	{"authz/keyring.go", `subtle.ConstantTimeCompare(want[:], bytesOf(check)) == 1`, `subtle.ConstantTimeCompare(want[:], bytesOf(check)) < 2`, "our form, invented"},
	{"authz/token.go", `len(text) < minToken || `, ``, "one byte short"},
	{"authz/token.go", `len(text) > maxToken || `, ``, "one byte long"},
	{"authz/token.go", ` || !credentialChars.holds(text)`, ``, "quoted"},
	{"authz/token.go", ` || !strings.EqualFold(scheme, "Bearer")`, ` || scheme == ""`, "Basic"},
	{"authz/token.go", "\tif field == \"\" {", "\tif false {", "empty"},
	{"authz/verdict.go", `{"deleted", Unauthenticated}`, `{"deleted", Allow}`, "deleted"},
	{"authz/verdict.go", `{"not_granted", Forbidden}`, `{"not_granted", Allow}`, "control, deletes"},
	{"authz/verdict.go", `{"malformed", Unauthenticated}`, `{"malformed", Forbidden}`, "Basic"},
	{"authz/verdict.go", `{"record_missing", Fail}`, `{"record_missing", Unauthenticated}`, "lost by the store"},
	{"envoy/request.go", `strings.Cut(c.path, "?")`, `strings.Cut(c.path, "\x00")`, "control, query"},
	{"envoy/decode.go", `strings.EqualFold(name, "authorization")`, `strings.TrimSpace(name) == "authorization"`, "headers, another case"},
	{"envoy/decode.go", `strings.EqualFold(name, "authorization")`, `strings.TrimSpace(name) == "authorization"`, "header_map, another case"},
	{"envoy/decode.go", `d.filter = value == filterVersion`, `d.filter = value != ""`, "filter of another version"},
	{"envoy/request.go", `len(values) != 1`, `len(values) == 0`, "address told twice"},
	{"envoy/request.go", "if err != nil {\n\t\treturn netip.Addr{}", "if err != nil {\n\t\treturn netip.AddrFrom4([4]byte{127, 0, 0, 2})", "address that is none"},
	{"envoy/gate.go", "v.Endpoints = request.Endpoints\n\tif v.Reason = reason; reason != authz.Undecided {", "v.Endpoints = request.Endpoints\n\tif false {", "none"},
	{"envoy/gate.go", "Lookup(token)\n\tif v.Reason = reason; reason != authz.Undecided {", "Lookup(token)\n\tif v.Reason = reason; false {", "our form, invented"},
	{"envoy/response.go", `ok.HeadersToRemove = []string{"authorization"}`, `_ = ok`, "control, get"},
	{"envoy/response.go", `OVERWRITE_IF_EXISTS_OR_ADD`, `APPEND_IF_EXISTS_OR_ADD`, "control, get"},
	{"envoy/response.go", `header("x-merchant-id", v.Merchant),`, ``, "control, get"},
}

// TestGuards takes each guard out of the code, and demands that its row fails.
func TestGuards(t *testing.T) {
	failed := func(overlay string) string {
		args := []string{"test", "-vet=off", "-count=1", "-run", "^TestHostileAlone$", "-overlay", overlay, "."}
		out, _ := exec.CommandContext(t.Context(), "go", args...).CombinedOutput()
		return string(out)
	}
	if out := failed(overlayOf(t, guards[0].file, func(s string) string { return s })); !strings.HasPrefix(out, "ok") {
		t.Fatalf("control: with every guard in place: %s", out)
	}
	for _, g := range guards {
		t.Run(g.row+" "+g.code, func(t *testing.T) {
			out := failed(overlayOf(t, g.file, func(s string) string {
				if n := strings.Count(s, g.code); n < 1 {
					t.Fatalf("%s does not hold %q", g.file, g.code)
				}
				return strings.Replace(s, g.code, g.text, 1)
			}))
			if !strings.Contains(out, ": "+g.row+": ") || strings.Contains(out, "[build failed]") {
				t.Errorf("%s without %q: the row does not fail: %.600s", g.file, g.code, out)
			}
		})
	}
	t.Logf("%d guards, each with its row", len(guards))
}

// overlayOf is the name of an overlay in which one file is another.
func overlayOf(t *testing.T, file string, change func(string) string) string {
	t.Helper()
	original, err := filepath.Abs(filepath.Join("..", file))
	must(t, err)
	text, err := os.ReadFile(original)
	must(t, err)
	dir := t.TempDir()
	changed := filepath.Join(dir, "changed.go")
	must(t, os.WriteFile(changed, []byte(change(string(text))), 0o600))
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{original: changed}})
	must(t, err)
	name := filepath.Join(dir, "overlay.json")
	must(t, os.WriteFile(name, overlay, 0o600))
	return name
}

// envoyGuards are lines of envoy.yaml, and the row that fails without each.
var envoyGuards = [][2]string{
	{"normalize_path: true", "dots to what is granted"},
	{"merge_slashes: true", "two slashes"},
	{"path_with_escaped_slashes_action: REJECT_REQUEST", "encoded slash"},
	{"headers_with_underscores_action: REJECT_REQUEST", "x_merchant_id"},
	{"use_remote_address: true", "x-request-id"},
	{"- {remove: x-http-method-override}", "method override"},
	{"- {remove: x-http-method}", "x-http-method"},
	{"- {remove: x-method-override}", "x-method-override"},
	{"- {remove: x-original-method}", "x-original-method"},
	{"- {remove: x-forwarded-method}", "x-forwarded-method"},
	{"- {remove: x-original-url}", "x-original-url"},
	{"- {remove: x-original-uri}", "x-original-uri"},
	{"- {remove: x-rewrite-url}", "x-rewrite-url"},
	{"- {remove: x-forwarded-uri}", "x-forwarded-uri"},
	{"- {remove: x-forwarded-prefix}", "x-forwarded-prefix"},
	{"- {remove: x-forwarded-path}", "x-forwarded-path"},
	{"- {remove: x-override-url}", "x-override-url"},
	{"- {remove: x-original-path}", "x-original-path"},
	{"- {remove: x-replaced-path}", "x-replaced-path"},
	{"- {remove: x-script-name}", "x-script-name"},
	{"- {remove: x-forwarded-host}", "x-forwarded-host"},
	{"- {remove: x-forwarded-server}", "x-forwarded-server"},
	{"- {remove: x-forwarded-port}", "x-forwarded-port"},
	{"- {remove: x-forwarded-scheme}", "x-forwarded-scheme"},
	{"- {remove: x-original-host}", "x-original-host"},
	{"- {remove: x-original-forwarded-host}", "x-original-forwarded-host"},
	{"- {remove: x-host}", "x-host"},
	{"- {remove: forwarded}", "forwarded"},
	{"- {remove_on_match: {key_matcher: {prefix: x-envoy-}}}", "x-envoy-original-method"},
}

// TestEnvoyGuards does the same with envoy.yaml.
func TestEnvoyGuards(t *testing.T) {
	w := newWorld(t)
	rows := map[string]row{}
	for _, r := range readRows(t, w.fillAll) {
		rows[r.name] = r
	}
	upstream, eye := newRawRecorder(t), &watch{}
	gate := w.serveWatched(t, eye)
	faults := func(t *testing.T, bootstrap, name string) []string {
		proxy, err := envoyproc.Start(t.Context(), envoyproc.Options{Edit: func(string) string { return bootstrap }})
		must(t, err)
		defer proxy.Stop()
		s := rows[name].send(proxy.Listen)
		arrived, broken := upstream.take()
		return rows[name].judge(hardened, passage{s, eye.take(), arrived, broken})
	}
	shipped, err := envoy.Bootstrap(envoy.Addresses{Listen: "127.0.0.1:0", Admin: "127.0.0.1:0", Gate: gate, Upstream: upstream.address})
	must(t, err)
	for _, g := range envoyGuards {
		if strings.Count(string(shipped), g[0]+"\n")+strings.Count(string(shipped), g[0]+" #") != 1 {
			t.Fatalf("envoy.yaml does not hold %q once", g[0])
		}
		if got := faults(t, string(shipped), g[1]); len(got) > 0 {
			t.Errorf("control: with every guard in place: %q", got)
		}
		if got := faults(t, strings.Replace(string(shipped), g[0], "# ", 1), g[1]); len(got) == 0 {
			t.Errorf("envoy.yaml without %q: the row %q does not fail", g[0], g[1])
		}
	}
	t.Logf("%d lines of envoy.yaml, each with its row", len(envoyGuards))
}
