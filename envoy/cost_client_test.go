//go:build !race

package envoy_test

import (
	"bytes"
	"encoding/binary"
	"net"
	"strings"
	"testing"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// asker asks one check again and again, on one connection, as Envoy does: it
// costs next to nothing of its own, and allocates nothing, so that what is
// measured is the server.
type asker struct {
	framer *http2.Framer
	out    bytes.Buffer
	conn   net.Conn
	stream uint32
	first  []byte // the first request's header block, which fills the table
	block  []byte // the others'
	data   []byte
	late   bool        // checks may be broken off, as their time is over
	next   func(n int) // changes data before it is sent for the nth time; nil: all are alike
}

// newAsker connects to a server that allows the check.
func newAsker(t testing.TB, address string, message []byte) *asker {
	t.Helper()
	conn, err := net.Dial("unix", strings.TrimPrefix(address, "unix:"))
	must(t, err)
	t.Cleanup(func() { conn.Close() })
	a := &asker{conn: conn, stream: 1, data: append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)}
	a.framer = http2.NewFramer(&a.out, conn)
	a.framer.SetReuseFrames()
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, to := range []*[]byte{&a.first, &a.block} {
		block.Reset()
		for _, f := range [][2]string{
			{":method", "POST"}, {":scheme", "http"}, {":path", "/envoy.service.auth.v3.Authorization/Check"}, {":authority", "postern"},
			{"te", "trailers"}, {"content-type", "application/grpc"}, {"grpc-timeout", "250m"}, {"x-client-ip", "127.0.0.1"},
		} {
			must(t, encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
		}
		*to = bytes.Clone(block.Bytes())
	}
	a.out.WriteString(http2.ClientPreface)
	must(t, a.framer.WriteSettings())
	must(t, a.framer.WriteWindowUpdate(0, 1<<30))
	a.ask(t, 1, 1)
	return a
}

// ask asks n times, this many at once.
func (a *asker) ask(t testing.TB, n, atOnce int) {
	t.Helper()
	for sent, done := 0, 0; done < n; {
		for ; sent < n && sent-done < atOnce; sent++ {
			a.send()
		}
		if a.out.Len() > 0 {
			_, err := a.conn.Write(a.out.Bytes())
			must(t, err)
			a.out.Reset()
		}
		frame, err := a.framer.ReadFrame()
		must(t, err)
		switch f := frame.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				a.framer.WriteSettingsAck()
			}
		case *http2.PingFrame:
			if !f.IsAck() {
				a.framer.WritePing(true, f.Data)
			}
		case *http2.HeadersFrame:
			if f.StreamEnded() {
				done++
			}
		case *http2.RSTStreamFrame:
			if done++; !a.late {
				t.Fatalf("the server broke off: %v", f)
			}
		case *http2.GoAwayFrame:
			t.Fatalf("the server broke off: %v", f)
		}
	}
}

func (a *asker) send() {
	block := a.block
	if a.stream == 1 {
		block = a.first
	}
	if a.next != nil {
		a.next(int(a.stream / 2))
	}
	a.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: a.stream, BlockFragment: block, EndHeaders: true})
	a.framer.WriteData(a.stream, true, a.data)
	a.stream += 2
}
