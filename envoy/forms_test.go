package envoy_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/postern/postern/envoy/envoyproc"
)

// The edits of the example catalog that the tests here need.
var (
	withHead = []string{"    delete:\n      operationId: cancelLabel\n", `    head:
      operationId: headOrderLabel
      x-postern-permission: getOrderLabel
      x-postern-fields: {shipping_price: {label: P, paths: [$.response.order.price]}}
      responses: {"200": {description: No body.}}
    delete:
      operationId: cancelLabel
`}
	withPDF    = []string{"          description: The label and the order it is for.\n          content:\n", "          description: The label and the order it is for.\n          content:\n            application/pdf: {}\n"}
	withGroups = []string{"          paths: [$.response.order.price]\n", `          paths: [$.response.order.price]
        carrier:
          label: Include the carrier
          paths: [$.response.order.carrier, "$.response.order.parcels[*].carrier"]
`}
	withoutGroups = []string{"          paths: [$.response.order.price]\n", "          paths: [$.response.order.nothing]\n"}
)

// validators are fields that speak of the body that the upstream sent.
var validators = []string{
	"ETag", `"v1"`, "Last-Modified", "Wed, 25 Nov 2026 10:00:00 GMT", "Content-MD5", "Q2hlY2sgSW50ZWdyaXR5IQ==", "Digest", "sha-256=a", "Repr-Digest", "sha-256=:a:", "Content-Digest", "sha-256=:a:", "Accept-Ranges", "bytes",
}

// TestHeaders covers the fields of filtered answers, and of the requests for
// them. The control is a secret that needs no filter.
func TestHeaders(t *testing.T) {
	w, upstream := newWorld(t), newAPI(t)
	proxy := startProxy(t, w.serve(t), upstream)
	const kept, keptValue = "X-Rate-Limit", "7"
	upstream.on("PP1", answers(200, labelBody, append(validators, "Content-Type", "application/json", "Cache-Control", "public, max-age=60, s-maxage=600", kept, keptValue)...))
	conditions := []string{"Accept-Encoding", "gzip, br", "Range", "bytes=0-9", "If-Range", `"v0"`, "If-Match", `"v0"`, "If-None-Match", `"v0"`, "If-Modified-Since", "Wed, 25 Nov 2026 10:00:00 GMT", "If-Unmodified-Since", "Wed, 25 Nov 2026 10:00:00 GMT", "Accept", "application/json"}
	for _, secret := range []string{"label", "both"} {
		filtered := secret == "label"
		response, body := w.ask(t, proxy, secret, "GET", "PP1", conditions...)
		if response.StatusCode != 200 || (body == cleanBody) != filtered {
			t.Errorf("%s: got %d %s", secret, response.StatusCode, body)
		}
		for i := 0; i < len(validators); i += 2 {
			if got := response.Header.Get(validators[i]); (got == "") != filtered {
				t.Errorf("%s: answer has %s %q", secret, validators[i], got)
			}
		}
		want := map[bool]string{true: "private, max-age=60", false: "public, max-age=60, s-maxage=600"}[filtered]
		if got := response.Header["Cache-Control"]; len(got) != 1 || got[0] != want {
			t.Errorf("%s: cache-control %q, want %q", secret, got, want)
		}
		if got := response.Header.Get("Content-Length"); got != strconv.Itoa(len(body)) || response.Header.Get(kept) != keptValue {
			t.Errorf("%s: content-length %q and %s %q, want %d and %s", secret, got, kept, response.Header.Get(kept), len(body), keptValue)
		}
		got := upstream.received("PP1")
		for i := 0; i < len(conditions)-2; i += 2 {
			want := conditions[i+1]
			if filtered {
				want = map[string]string{"Accept-Encoding": "identity"}[conditions[i]]
			}
			if got.Get(conditions[i]) != want {
				t.Errorf("%s: upstream got %s %q, want %q", secret, conditions[i], got.Get(conditions[i]), want)
			}
		}
		if got.Get("Accept") == "" {
			t.Errorf("%s: upstream got no Accept", secret)
		}
	}
}

func TestCacheControl(t *testing.T) {
	w, upstream := newWorld(t), newAPI(t)
	proxy := startProxy(t, w.serve(t), upstream)
	for was, want := range map[string]string{
		"": "private", "no-store": "private, no-store", "public": "private", "Private": "private", "max-age=1,must-revalidate": "private, max-age=1, must-revalidate",
		`private="set-cookie", max-age=1`: "no-store", "S-MaxAge=9": "private",
	} {
		upstream.on("PP1", answers(200, labelBody, "Content-Type", "application/json", "Cache-Control", was))
		if response, _ := w.ask(t, proxy, "label", "GET", "PP1"); response.Header.Get("Cache-Control") != want {
			t.Errorf("cache-control %q became %q, want %q", was, response.Header.Get("Cache-Control"), want)
		}
	}
}

// TestForms covers the ways in which HTTP carries an answer.
func TestForms(t *testing.T) {
	w, upstream := newWorld(t), newAPI(t)
	w.catalog = exampleCatalog(t, append(withHead, withPDF...)...)
	w.add(t, "head", w.draft(t, "getOrderLabel"))
	large := `{"response":{"order":{"price":"15.95","label":"` + strings.Repeat("x", 2<<20) + `"}}}`
	largeClean := strings.Replace(large, `"price":"15.95",`, "", 1)
	upstream.on("head", answers(200, labelBody, "Content-Type", "application/json", "ETag", `"v1"`))
	upstream.on("chunks", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		for _, part := range strings.SplitAfter(labelBody, "r") { // amid names and values
			io.WriteString(rw, part)
			rw.(http.Flusher).Flush()
		}
	})
	upstream.on("large", asJSON(large))
	upstream.on("pdf", answers(200, "%PDF-1.7 ...", "Content-Type", "application/pdf"))
	upstream.on("not-pdf", answers(200, labelBody, "Content-Type", "application/pdf"))
	upstream.on("png", answers(200, "PNG ...", "Content-Type", "image/png"))
	upstream.on("trailers", func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Trailer", "X-Sum, Repr-Digest")
		io.WriteString(rw, labelBody)
		rw.Header().Set("X-Sum", "7")
		rw.Header().Set("Repr-Digest", "sha-256=:a:")
	})
	http2 := new(http.Protocols)
	http2.SetUnencryptedHTTP2(true)
	upstream2 := []string{"  - name: upstream\n    type: STRICT_DNS\n", "  - name: upstream\n    type: STRICT_DNS\n    typed_extension_protocol_options: *http2\n"}
	gate := w.serve(t)
	for name, proxy := range map[string]*envoyproc.Process{
		"HTTP/1.1": startProxy(t, gate, upstream), "HTTP/2": startProxy(t, gate, upstream, upstream2...),
	} {
		if w.protocols = nil; name == "HTTP/2" {
			w.protocols = http2
		}
		t.Run(name, func(t *testing.T) {
			response, body := w.ask(t, proxy, "head", "HEAD", "head")
			if h := response.Header; response.StatusCode != 200 || body != "" || h.Get("Content-Length") != "" || h.Get("ETag") != "" || h.Get("Content-Type") != "application/json" {
				t.Errorf("HEAD: got %d %v, want 200, and no length or tag", response.StatusCode, h)
			}
			for n, want := range map[string]string{"chunks": cleanBody, "large": largeClean, "trailers": cleanBody, "pdf": "%PDF-1.7 ...", "not-pdf": cleanBody} {
				response, body := w.ask(t, proxy, "head", "GET", n)
				if response.StatusCode != 200 || body != want || response.Proto[:6] != (name + ".0")[:6] {
					t.Errorf("%s: got %s %d with %d bytes, %.200s", n, response.Proto, response.StatusCode, len(body), body)
				}
				if n == "trailers" && name == "HTTP/2" && (response.Trailer.Get("X-Sum") != "7" || response.Trailer.Get("Repr-Digest") != "") {
					t.Errorf("trailers: got %v, want X-Sum alone", response.Trailer)
				}
			}
			response, body = w.ask(t, proxy, "head", "GET", "png")
			checkWithheld(t, response, body)
		})
	}
}

// TestGroupsAndReload covers two groups at once, and a catalog that changes
// between a request and its answer: what the secret may not see goes under the
// old and the new one.
func TestGroupsAndReload(t *testing.T) {
	const (
		body    = `{"response":{"order":{"price":"15.95","carrier":"C1","parcels":[{"carrier":"C2","n":1},{"n":2}],"state":"s"}}}`
		neither = `{"response":{"order":{"parcels":[{"n":1},{"n":2}],"state":"s"}}}`
		noCost  = `{"response":{"order":{"carrier":"C1","parcels":[{"carrier":"C2","n":1},{"n":2}],"state":"s"}}}`
	)
	w, upstream := newWorld(t), newAPI(t)
	two, gone := exampleCatalog(t, withGroups...), exampleCatalog(t, withoutGroups...)
	w.catalog = two
	w.add(t, "plain", w.draft(t, "getOrderLabel"))
	w.add(t, "carrier", w.draft(t, "getOrderLabel+carrier"))
	w.add(t, "all", w.draft(t, "getOrderLabel+carrier+shipping_price"))
	proxy := startProxy(t, w.serve(t), upstream)
	noCarrier := strings.Replace(neither, `{"parcels"`, `{"price":"15.95","parcels"`, 1)
	for _, tt := range []struct{ secret, during, after string }{
		{"plain", neither, neither},
		{"carrier", noCost, noCost},
		{"all", body, body},
		{"label", neither, noCost}, // it and the next are older than the second group
		{"both", noCarrier, body},
		{"legacy", body, body},
	} {
		upstream.on("PP1", func(rw http.ResponseWriter, r *http.Request) {
			w.next.Store(gone) // after the verdict, before the answer
			asJSON(body)(rw, r)
		})
		w.next.Store(nil)
		if _, got := w.ask(t, proxy, tt.secret, "GET", "PP1"); got != tt.during {
			t.Errorf("%s, during the reload: got %s, want %s", tt.secret, got, tt.during)
		}
		if _, got := w.ask(t, proxy, tt.secret, "GET", "PP1"); got != tt.after {
			t.Errorf("%s, after the reload: got %s, want %s", tt.secret, got, tt.after)
		}
	}
}

// TestUnrestrictedMakesNoStream counts Envoy's streams to the filter.
func TestUnrestrictedMakesNoStream(t *testing.T) {
	w, upstream := newWorld(t), newAPI(t)
	proxy := startProxy(t, w.serve(t), upstream)
	upstream.on("PP1", asJSON(labelBody))
	for secret, want := range map[string]int{"legacy": 0, "both": 0, "office": 0, "deleted": 0, "label": 1} {
		before := streams(t, proxy)
		for range 3 {
			w.ask(t, proxy, secret, "GET", "PP1")
		}
		if got := streams(t, proxy) - before; got != 3*want {
			t.Errorf("%s: 3 requests made %d streams, want %d", secret, got, 3*want)
		}
	}
}

func streams(t *testing.T, proxy *envoyproc.Process) int {
	t.Helper()
	response, err := http.Get("http://" + proxy.Admin + "/stats?filter=ext_proc.*streams_started")
	must(t, err)
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	must(t, err)
	_, digits, found := strings.Cut(strings.TrimSpace(string(text)), "streams_started: ")
	n, err := strconv.Atoi(digits)
	if !found || err != nil {
		t.Fatalf("Envoy's statistics are %q: want one of streams", text)
	}
	return n
}
