package envoyproc

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

var clients = map[string]*http.Client{"HTTP/1.1": client(false), "HTTP/2.0": client(true)}

func client(http2 bool) *http.Client {
	var protocols http.Protocols
	protocols.SetHTTP1(!http2)
	protocols.SetUnencryptedHTTP2(http2)
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{Protocols: &protocols}}
}

func send(t *testing.T, envoy *Process, method, path string, header http.Header) (*http.Response, string) {
	t.Helper()
	return sendBy(t, clients["HTTP/1.1"], envoy, method, path, header)
}

// sendBy sends the token, and after a POST's body a trailer that names a merchant.
func sendBy(t *testing.T, client *http.Client, envoy *Process, method, path string, header http.Header) (*http.Response, string) {
	t.Helper()
	var body io.Reader
	if method == "POST" {
		body = io.MultiReader(strings.NewReader("{}")) // of unknown length, as trailers need
	}
	r, err := http.NewRequestWithContext(t.Context(), method, "http://"+envoy.Listen+path, body)
	if err != nil {
		t.Fatal(err)
	}
	maps.Copy(r.Header, header)
	r.Header.Set("Authorization", token)
	if method == "POST" {
		r.Trailer = http.Header{"X-Merchant-Id": {"evil"}}
	}
	resp, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	return resp, readBody(t, resp)
}

// sendRaw sends a request line and headers, one per line, that net/http would not.
func sendRaw(t *testing.T, envoy *Process, raw string) (*http.Response, string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", envoy.Listen, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	io.WriteString(conn, strings.ReplaceAll(raw+"\nhost: api\nauthorization: "+token, "\n", "\r\n")+"\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	return resp, readBody(t, resp)
}

func readBody(t *testing.T, resp *http.Response) string {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func closedPort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

// logged is the access log's line for an answer, found by its request id.
func logged(t *testing.T, envoy *Process, resp *http.Response) map[string]any {
	t.Helper()
	id := resp.Header.Values("X-Request-Id")
	if len(id) != 1 || id[0] == "" {
		t.Fatalf("got x-request-id %q, want one", id)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	for ctx.Err() == nil {
		for line := range strings.Lines(envoy.AccessLog()) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil && strings.HasSuffix(line, "\n") {
				t.Fatalf("read access log line %s: %v", line, err)
			}
			if fields["request_id"] == id[0] {
				return fields
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no access log line has request id %s:\n%s", id[0], envoy.AccessLog())
	return nil
}

func checkLine(t *testing.T, line, want map[string]any) {
	t.Helper()
	for field, value := range want {
		if line[field] != value {
			t.Errorf("the access log's %s is %v, want %v", field, line[field], value)
		}
	}
}
