package envoy_test

import (
	"bufio"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// rawRecorder is an upstream that keeps what arrives as it came: net/http
// would clean it.
type rawRecorder struct {
	address string
	mu      sync.Mutex // guards what follows
	arrived []arrival
	broken  []string // what was no request
}

// arrival is one request that reached the upstream.
type arrival struct {
	method, path string
	fields       [][2]string // names in lower case
}

func newRawRecorder(t *testing.T) *rawRecorder {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	r := &rawRecorder{address: listener.Addr().String()}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go r.serve(conn)
		}
	}()
	return r
}

func (r *rawRecorder) serve(conn net.Conn) {
	defer conn.Close()
	reader := bufio.NewReaderSize(conn, 1<<20)
	for {
		a, length, err := readArrival(reader)
		if err != nil {
			return
		}
		r.mu.Lock()
		r.arrived = append(r.arrived, a)
		if !strings.HasPrefix(a.path, "/") || length < -1 {
			r.broken = append(r.broken, a.method+" "+a.path)
		}
		r.mu.Unlock()
		conn.SetDeadline(time.Now().Add(10 * time.Second))
		if length == -1 {
			io.Copy(io.Discard, httputil.NewChunkedReader(reader))
			reader.Discard(2)
		} else {
			io.CopyN(io.Discard, reader, length)
		}
		answer := "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n"
		if a.method != "HEAD" {
			answer += "{}"
		}
		if _, err := io.WriteString(conn, answer); err != nil {
			return
		}
	}
}

// readArrival reads a request's head. length is its body's, -1 where that is
// chunked, and less where there are two.
func readArrival(reader *bufio.Reader) (a arrival, length int64, err error) {
	line, err := reader.ReadString('\n')
	if err != nil {
		return a, 0, err
	}
	line = strings.TrimSuffix(strings.TrimSuffix(line, "\r\n"), " HTTP/1.1")
	a.method, a.path, _ = strings.Cut(line, " ")
	for {
		line, err := reader.ReadString('\n')
		if err != nil {
			return a, 0, err
		}
		if line = strings.TrimSuffix(line, "\r\n"); line == "" {
			return a, length, nil
		}
		name, value, _ := strings.Cut(line, ":")
		name, value = strings.ToLower(name), strings.TrimSpace(value)
		a.fields = append(a.fields, [2]string{name, value})
		switch {
		case (name == "transfer-encoding" || name == "content-length") && length != 0:
			length = -2
		case name == "transfer-encoding":
			length = -1
		case name == "content-length":
			length, _ = strconv.ParseInt(value, 10, 64)
		}
	}
}

// values are the values of a field, in their order.
func (a arrival) values(name string) (all []string) {
	for _, f := range a.fields {
		if f[0] == name {
			all = append(all, f[1])
		}
	}
	return all
}

// take is what arrived since the last call.
func (r *rawRecorder) take() (arrived []arrival, broken []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	arrived, broken = r.arrived, r.broken
	r.arrived, r.broken = nil, nil
	return arrived, broken
}
