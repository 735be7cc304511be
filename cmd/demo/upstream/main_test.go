package main

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"reflect"
	"strings"
	"testing"
)

func TestEcho(t *testing.T) {
	addr := start(t)
	tests := []struct {
		name, request string
		want          received
	}{
		{
			"nothing but a path", "GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
			received{"GET", "/a", "", map[string][]string{"host": {"h"}, "connection": {"close"}}, 0, nil},
		},
		{
			"a label", "GET /orders/PP1/label HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
			received{"GET", "/orders/PP1/label", "", map[string][]string{"host": {"h"}, "connection": {"close"}}, 0, json.RawMessage(label)},
		},
		{
			"a path that Go would clean, and a query", "GET //a/%2e%2e/b?x=%20&y HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
			received{"GET", "//a/%2e%2e/b", "x=%20&y", map[string][]string{"host": {"h"}, "connection": {"close"}}, 0, nil},
		},
		{
			"a body and a header twice", "PUT / HTTP/1.1\r\nHost: h\r\nConnection: close\r\nX-A: 1\r\nx-a: 2\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
			received{"PUT", "/", "", map[string][]string{"host": {"h"}, "connection": {"close"}, "x-a": {"1", "2"}}, 3, nil},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			head, body := exchange(t, addr, tt.request)
			if !strings.HasPrefix(head, "HTTP/1.1 200 ") || !strings.Contains(head, "Content-Type: application/json\r\n") {
				t.Errorf("answer %q, want a 200 of JSON", head)
			}
			var got received
			if err := json.Unmarshal([]byte(body), &got); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, tt.want) {
				t.Errorf("received %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestListenOnTakenPort(t *testing.T) {
	err := serve(t.Context(), start(t), io.Discard)
	if err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("serve on a taken port: %v, want an error that says so", err)
	}
}

// start runs serve for as long as the test, and fails it when serve does not end well.
func start(t *testing.T) (addr string) {
	ctx, cancel := context.WithCancel(context.Background())
	log, said := io.Pipe()
	ended := make(chan error)
	go func() { ended <- serve(ctx, "127.0.0.1:0", said) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	line := make([]byte, 100)
	n, err := log.Read(line)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(strings.TrimPrefix(string(line[:n]), "listening on "))
}

// exchange speaks raw bytes: Go's client would tidy the request first.
func exchange(t *testing.T, addr, request string) (head, body string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ = strings.Cut(string(answer), "\r\n\r\n")
	return head + "\r\n", body
}
