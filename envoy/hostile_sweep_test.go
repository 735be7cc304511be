package envoy_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

// sweepPaths are paths made of what bypasses are made of, in places where they
// would matter. `~~` begins a path that is harmless.
func sweepPaths() []string {
	var middles []string
	for _, dots := range []string{".", "..", "%2e", "%2e%2e", ".%2E", "%252e%252e", "..;", "..;x=1", "%2e%2e;", "..%00", "...", ".;", "%c0%ae%c0%ae", "%u002e%u002e"} {
		for _, slash := range []string{"/", "//", "%2f", "%2F", "%252f", `\`, "%5c", "%255C", ";/", "/;/", "/./", "%ef%bc%8f"} {
			middles = append(middles, "/"+dots+slash, slash+dots+"/")
		}
	}
	middles = append(middles, "/", "//", "///", "/;/", ";/", ";a=b/", "/%20/", "%20/", "%00/", "%0a/", "%0d%0a/", "%09/", "/~/", "/*/", "%3f/", "%23/", "%2f", "%252f", `\`, "%5c", "/%2e/", "+/", ",/")
	shapes := []string{
		"/api/3/orders%smerchant", "/api/3/orders/PP1%slabel", "/api/3/orders/PP1%s../merchant", "/api/3%smerchant", "%sapi/3/merchant",
		"/api/3/orders%ssearch", "/api/3/orders/search%stracking", "/api/3/merchants%swebhooks", "/api/3/book/latest%sdocument",
	}
	var all []string
	for _, shape := range shapes {
		for _, m := range middles {
			all = append(all, fmt.Sprintf(strings.ReplaceAll(shape, "%s", "%[1]s"), m))
		}
	}
	all = append(all, sweepEnds()...)
	slices.Sort(all)
	return slices.Compact(all)
}

// sweepEnds are paths that end in something, and words in other letters.
func sweepEnds() (all []string) {
	ends := []string{
		"", "/", "//", ".", "..", "/.", "/..", "/../", "...", ".json", ".JSON", ".html", ".json.", ".xml;x", "%2ejson", ";", ";a", ";.json", "%3b", "%3B.css", "%00", "%00.json",
		"%20", "%09", "%0a", "%0d%0a", "%a0", "%2f", "%2F", "%252f", `\`, "%5c", "?", "??", "?/../x", "%3f", "%3fx", "%23", "~", "*", "%", "%2", "%zz", "&", "'", "\"", "!", "$", "+", ",", "-", "_", "@", ":", "::$DATA", "=", "^", "`", "{}", "[]",
		"/*", "/**", "/;/", "/..;/", "/..%2f", "%2e", "%2e%2e", ".css", ".pdf.pdf", "-1", "1", ".1", "_", "~1",
	}
	for _, base := range []string{"/api/3/merchant", "/api/3/orders/PP1", "/api/3/orders/search", "/api/3/orders/PP1/label", "/api/3/orders/PP1/tracking", "/api/3/orders/returns/R1", "/api/3/book/latest/document"} {
		for _, end := range ends {
			all = append(all, base+end)
		}
	}
	for _, word := range []string{"search", "label", "tracking", "returns", "latest", "document", "merchant", "PP1", "x"} {
		title := strings.ToUpper(word[:1]) + word[1:]
		for _, spelling := range []string{word, strings.ToUpper(word), title, title + ".", title + ".json", word + ".pdf", word + "..", "." + word, "%" + strconv.FormatInt(int64(word[0]), 16) + word[1:], word + "s", "a" + word, word + "~", word + "-"} {
			for _, place := range []string{"/api/3/orders/%[1]s", "/api/3/orders/PP1/%[1]s", "/api/3/orders/%[1]s/label", "/api/3/orders/%[1]s/tracking", "/api/3/book/%[1]s/document", "/api/3/%[1]s"} {
				all = append(all, fmt.Sprintf(place, spelling))
			}
		}
	}
	return all
}

// may says what a secret of the world was granted, as its draft says it.
func (w *world) may(name string) func(*authz.Endpoint) bool {
	return func(e *authz.Endpoint) bool {
		return slices.ContainsFunc(drafts[name], func(p string) bool { p, _, _ = strings.Cut(p, "+"); return p == e.Permission })
	}
}

var sweepSecrets = []string{"office", "orders", "search", "documents", "returns", "both"}

// sweep counts what a gate allows of the paths, as rewrite makes them for it,
// and what of that an upstream may take for an endpoint that was not granted.
// It ends when that is enough.
func (w *world) sweep(t *testing.T, rewrite func(string) string, enough int, methods ...string) (allowed, hijacked int, first string) {
	t.Helper()
	gate := w.newGate(t)
	j := newJudge(w.catalog)
	for _, name := range sweepSecrets {
		for _, method := range methods {
			for _, target := range sweepPaths() {
				c := testCase{method: method, path: rewrite(target), authorization: "Bearer " + w.tokens[name]}
				response, err := gate.Check(t.Context(), c.checkRequest(false))
				must(t, err)
				if answerOf(response).status != "200" {
					continue
				}
				allowed++
				if b, e := j.hijacked(method, target, w.may(name)); e != nil {
					first = orElseText(first, fmt.Sprintf("%s: %s %s was allowed, and is %s to a backend that does %s", name, method, target, e, b))
					if hijacked++; hijacked >= enough {
						return allowed, hijacked, first
					}
				}
			}
		}
	}
	return allowed, hijacked, first
}

// TestSweep asks the gate about every path, and has the judge read what it
// allows in every way.
func TestSweep(t *testing.T) {
	w := newWorld(t)
	allowed, hijacked, first := w.sweep(t, func(p string) string { return p }, 1000, "GET", "DELETE")
	if hijacked > 0 || allowed <= 40 {
		t.Errorf("%d allowed, %d hijackable, want more than 40 and none: %s", allowed, hijacked, first)
	}
	t.Logf("%d paths, %d backends, %d secrets: %d allowed, %d hijackable", len(sweepPaths()), len(backends()), len(sweepSecrets), allowed, hijacked)
}

// TestSweepFindsWidened shows that the judge would see a gate that cleans what
// it matches, and does not send on what it cleaned.
func TestSweepFindsWidened(t *testing.T) {
	w := newWorld(t)
	for name, rewrite := range map[string]func(string) string{
		"cleans":          path.Clean,
		"decodes":         func(p string) string { u, err := url.PathUnescape(p); return orElse(u, p, err) },
		"cuts parameters": withoutParameters,
		"folds case":      strings.ToLower,
		"trims":           func(p string) string { return strings.TrimRight(p, "/.") },
	} {
		_, hijacked, first := w.sweep(t, rewrite, 5, "GET")
		if hijacked == 0 {
			t.Errorf("a gate that %s: 0 hijackable, want some", name)
		}
		t.Logf("a gate that %s: %d hijackable, such as %s", name, hijacked, first)
	}
}

// TestSweepThroughEnvoy sends every path through real Envoys, and has the
// judge read what arrives.
func TestSweepThroughEnvoy(t *testing.T) {
	if testing.Short() {
		t.Skip("long")
	}
	w := newWorld(t)
	for _, way := range []string{hardened, plain} {
		upstream, eye := newRawRecorder(t), &watch{}
		proxy := startEnvoy(t, way, w.serveWatched(t, eye), upstream.address)
		client := &keptConn{address: proxy.Listen}
		j := newJudge(w.catalog)
		allowed, hijacked := 0, 0
		for i, target := range sweepPaths() {
			for _, name := range []string{sweepSecrets[i%len(sweepSecrets)], "orders"} {
				client.get(target, w.tokens[name])
				arrived, broken := upstream.take()
				if len(broken) > 0 || len(arrived) > 1 {
					t.Errorf("%s: GET %q with %s: %v arrived (broken: %q), want one at most", way, target, name, arrived, broken)
				}
				for _, a := range arrived {
					allowed++
					if b, e := j.hijacked(a.method, a.path, w.may(name)); e != nil {
						hijacked++
						t.Errorf("%s: %s: GET %q arrived as %q, and is %s to a backend that does %s", way, name, target, a.path, e, b)
					}
				}
			}
		}
		if allowed <= 40 {
			t.Errorf("%s: %d allowed, want more than 40", way, allowed)
		}
		t.Logf("%s: %d allowed, %d hijackable", way, allowed, hijacked)
	}
}

// keptConn sends one request after the other, on one connection while that
// lasts.
type keptConn struct {
	address string
	conn    net.Conn
	reader  *bufio.Reader
}

func (k *keptConn) get(target, token string) {
	for range 2 {
		if k.conn == nil {
			conn, err := net.Dial("tcp", k.address)
			if err != nil {
				return
			}
			k.conn, k.reader = conn, bufio.NewReader(conn)
		}
		k.conn.SetDeadline(time.Now().Add(5 * time.Second))
		fmt.Fprintf(k.conn, "GET %s HTTP/1.1\r\nHost: a.example\r\nAuthorization: Bearer %s\r\n\r\n", target, token)
		response, err := http.ReadResponse(k.reader, nil)
		if err == nil {
			_, err = io.Copy(io.Discard, response.Body)
		}
		if err != nil || response.Close {
			k.conn.Close()
			k.conn = nil
		}
		if err == nil {
			return
		}
	}
}
