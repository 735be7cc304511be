package main

import (
	"bufio"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/envoy/envoyproc"
	"github.com/postern/postern/envoy/trace/tracetest"
)

// leaks names the forms in which a text holds a token, or what would do as
// well to try tokens by.
func leaks(text, token string) (forms []string) {
	sum := sha256.Sum256([]byte(token))
	for name, form := range map[string]string{
		"as it is": token, "its middle": token[4 : len(token)-4], "in base64": base64.StdEncoding.EncodeToString([]byte(token))[:20],
		"its SHA-256": hex.EncodeToString(sum[:]), "its SHA-256 in base64": base64.StdEncoding.EncodeToString(sum[:]),
		"in hex": hex.EncodeToString([]byte(token)),
	} {
		if strings.Contains(text, form) {
			forms = append(forms, name)
		}
	}
	return forms
}

// monitor is all that a Redis is asked, from now to the end of the test.
func (s *shell) monitor() *buffer {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.redis.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	fmt.Fprint(conn, "MONITOR\r\n")
	seen := &buffer{}
	reader := bufio.NewReader(conn)
	if line, err := reader.ReadString('\n'); err != nil || line != "+OK\r\n" {
		s.t.Fatalf("MONITOR = %q, %v", line, err)
	}
	go io.Copy(seen, reader)
	return seen
}

// appendOnlyFile is what Redis has written to disk.
func (s *shell) appendOnlyFile() string {
	s.t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(s.redis.Dir, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all.Write(data)
		return err
	})
	if err != nil || !strings.Contains(all.String(), "postern:secret:") {
		s.t.Errorf("read what Redis wrote: %v, %d bytes, want its records", err, all.Len())
	}
	return all.String()
}

// TestTokensDoNotPrint mints tokens in every way there is, uses them in every
// way there is, and looks for them in all that was written meanwhile.
func TestTokensDoNotPrint(t *testing.T) {
	s := newShell(t)
	asked := s.monitor()
	var arrived []string
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		arrived = append(arrived, fmt.Sprint(r.Method, r.URL.Path, r.Header))
	}))
	t.Cleanup(upstream.Close)
	tokens := s.mintAll()
	collector := tracetest.Start(t)
	g := s.serve("--decision-log 1000 --trace-endpoint " + collector.URL())
	proxy, err := envoyproc.Start(t.Context(), envoyproc.Options{Gate: "unix:" + g.socket, Upstream: upstream.Listener.Addr().String(), Edit: alwaysTraced})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { proxy.Stop() })
	for _, token := range tokens {
		for _, spoilt := range []string{token, token + "x", strings.ToUpper(token), " " + token, token + "," + token, token + "\x80"} {
			useToken(t, proxy.Listen, spoilt)
			s.runWith(spoilt+"\n", "check --catalog $CATALOG GET /api/3/merchant")
			s.runWith(spoilt+"\n", "check --json --catalog $CATALOG GET /api/3/merchant")
		}
		s.run("secret show", token)
		s.run("secret show", "-"+token)
		s.run("secret delete", token)
	}
	_, metrics := g.get("/metrics")
	_, state := g.get("/readyz")
	s.runWith(tokens[0]+"\n", "secret delete --token-stdin")
	useToken(t, proxy.Listen, tokens[0])
	g.await("send its spans", func() bool { return strings.Contains(collector.Bytes(), "deleted") })

	s.mu.Lock()
	said := strings.Join(s.said, "\n")
	s.mu.Unlock()
	written := map[string]string{
		"the sidecar's log": g.log.String(), "metrics": metrics, "readiness": state, "Envoy's access log": proxy.AccessLog(), "Envoy's stderr": proxy.Stderr(),
		"what Redis was asked": asked.String(), "Redis's files": s.appendOnlyFile(), "Redis": s.dump(), "what arrived": strings.Join(arrived, "\n"),
		"spans": collector.Bytes(),
	}
	for name, text := range written {
		if len(text) == 0 && name != "Envoy's stderr" {
			t.Errorf("nothing is known of %s: this test shows nothing", name)
		}
	}
	for i, token := range tokens {
		for name, text := range written {
			if forms := leaks(text, token); len(forms) > 0 {
				t.Errorf("token %d is in %s: %v", i, name, forms)
			}
		}
		if n := strings.Count(said, token); n > 1 && i < len(tokens)-1 {
			t.Errorf("token %d was printed %d times, want once, in the answer of its creation", i, n)
		}
		if got := leaks(written["metrics"]+"\n"+token+"\n"+metrics, token); len(got) == 0 {
			t.Error("control: a token that was planted is not found")
		}
	}
	t.Logf("%d tokens were looked for in %d kinds of writing, and in what %d commands said", len(tokens), len(written), len(s.said)/2)
}

// alwaysTraced is the edit of envoy.yaml by which each check is of a trace that
// is kept.
func alwaysTraced(bootstrap string) string {
	const before = "                - {key: x-request-id,"
	return strings.Replace(bootstrap, before, "                - {key: traceparent, value: "+sampled+"}\n"+before, 1)
}

// mintAll mints a token in every way. The last one was minted elsewhere.
func (s *shell) mintAll() []string {
	const partners = "partner-token-0123456789"
	created := s.create("--permission getMerchant")
	legacy := s.form("merchant create m9")
	rotated := s.form("secret rotate " + created.ID)
	s.ok("secret create --merchant m1 --description text --permission getMerchant") // not in JSON
	if r := s.runWith(partners+"\n", "secret import --merchant m1 --description x --permission getMerchant --token-stdin"); r.code != exitDone {
		s.t.Fatalf("import: %s", r.stderr)
	}
	return []string{created.Secret, legacy.Secret, rotated.Secret, partners}
}

// useToken sends a request with a token through Envoy, as it is.
func useToken(t *testing.T, address, token string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(5 * time.Second))
	fmt.Fprintf(conn, "GET /api/3/merchant?access_token=%s HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\nAuthorization: Bearer %s\r\n\r\n",
		strings.TrimSpace(strings.ReplaceAll(token, "\x80", "")), token)
	if answer, err := io.ReadAll(conn); err != nil || len(answer) == 0 || len(leaks(string(answer), token)) > 0 {
		t.Errorf("answer of %d bytes, %v, want one without the token", len(answer), err)
	}
}
