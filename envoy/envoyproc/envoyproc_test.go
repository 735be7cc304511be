package envoyproc

import (
	"context"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestFind(t *testing.T) {
	root := t.TempDir()
	inner := filepath.Join(root, "a", "b")
	tools, path, elsewhere := filepath.Join(root, ".tools", "envoy"), filepath.Join(root, "bin", "envoy"), filepath.Join(root, "mine")
	for _, tt := range []struct {
		name, env string
		present   []string
		want, err string
	}{
		{"ENVOY_BIN first", elsewhere, []string{elsewhere, tools, path}, elsewhere, ""},
		{"ENVOY_BIN missing", elsewhere, []string{tools, path}, "", "ENVOY_BIN"},
		{"then .tools", "", []string{tools, path}, tools, ""},
		{"then the PATH", "", []string{path}, path, ""},
		{"nowhere", "", nil, "", "make envoy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.MkdirAll(inner, 0o755); err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(root)
			writeScript(t, filepath.Join(root, "go.mod"), "")
			for _, file := range tt.present {
				writeScript(t, file, "")
			}
			t.Setenv("ENVOY_BIN", tt.env)
			t.Setenv("PATH", filepath.Dir(path))
			t.Chdir(inner)
			got, err := Find()
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			if tt.err == "" && err != nil || tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)) {
				t.Errorf("got error %v, want %q", err, tt.err)
			}
		})
	}
}

func TestStartSaysWhyNot(t *testing.T) {
	script := filepath.Join(t.TempDir(), "envoy")
	writeScript(t, script, "#!/bin/sh\necho 'unable to bind' >&2\nexit 3\n")
	for _, tt := range []struct {
		name, bin string
		opts      Options
		want      []string
	}{
		{"ends at once", script, Options{}, []string{script, "exit status 3", "unable to bind"}},
		{"gate is no address", script, Options{Gate: "gate"}, []string{"gate address"}},
		{"no Envoy", script + "0", Options{}, []string{"ENVOY_BIN"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Setenv("ENVOY_BIN", tt.bin)
			p, err := Start(t.Context(), tt.opts)
			if err == nil {
				t.Fatal("it started", p.Stop())
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got error %v, want one with %q", err, want)
				}
			}
		})
	}
}

func TestEnds(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		end        func(*Process, context.CancelFunc)
	}{
		{"by Stop", "", func(p *Process, _ context.CancelFunc) { p.Stop() }},
		{"by its context", "", func(_ *Process, cancel context.CancelFunc) { cancel() }},
		{"by itself", "ended by itself", func(p *Process, _ context.CancelFunc) {
			resp, err := http.Post("http://"+p.Admin+"/quitquitquit", "", nil)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p, err := Start(ctx, Options{Upstream: "127.0.0.1:9"})
			if err != nil {
				t.Fatal(err)
			}
			tt.end(p, cancel)
			select {
			case <-p.Done():
			case <-time.After(2 * stopWithin):
				t.Error("it has not ended")
			}
			if err := p.Stop(); tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got error %v, want %q", err, tt.want)
			}
			if listens(p.Listen) {
				t.Errorf("%s still listens", p.Listen)
			}
			if _, err := os.Stat(p.dir); !os.IsNotExist(err) {
				t.Errorf("its folder: got error %v, want it gone", err)
			}
		})
	}
}

func TestTailKeepsTheLastWholeLines(t *testing.T) {
	var kept tail
	line := strings.Repeat("x", 1000) + "\n"
	for range 3 * tailSize / len(line) {
		kept.Write([]byte(line))
	}
	got := kept.String()
	if len(got) < tailSize-len(line) || len(got) > 2*tailSize {
		t.Errorf("it kept %d bytes, want about %d to %d", len(got), tailSize, 2*tailSize)
	}
	if strings.ReplaceAll(got, line, "") != "" {
		t.Error("it kept part of a line")
	}
}

func writeScript(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
}

func listens(addr string) bool {
	conn, err := net.DialTimeout("tcp", addr, time.Second)
	if err != nil {
		return false
	}
	conn.Close()
	return true
}
