package envoy_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// Clients that send what no library would.

// said is what a client was answered.
type said struct {
	status  string   // of the first answer: "closed" where there was none
	all     []string // of all answers
	fields  http.Header
	body    string
	trouble error // why no more was read
}

// sendRaw writes bytes to a connection and reads every answer. further tells
// that more than one may come.
func sendRaw(address string, data []byte, further bool) (s said) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return said{status: "closed", trouble: err}
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	go conn.Write(data) // a server may answer, and close, before it has read all
	method, _, _ := bytes.Cut(data, []byte(" "))
	reader := bufio.NewReader(conn)
	for {
		response, err := http.ReadResponse(reader, &http.Request{Method: string(method)})
		if err != nil {
			s.trouble = err
			break
		}
		if response.StatusCode < 200 {
			continue
		}
		body, err := io.ReadAll(response.Body)
		s.all = append(s.all, fmt.Sprint(response.StatusCode))
		if len(s.all) == 1 {
			s.fields, s.body = response.Header, string(body)
		}
		if err != nil || !further || response.Close {
			break
		}
		conn.SetDeadline(time.Now().Add(300 * time.Millisecond))
	}
	s.status = "closed"
	if len(s.all) > 0 {
		s.status = s.all[0]
	}
	return s
}

// sendH2 sends one HTTP/2 request of these fields, in their order and as they
// are, to a server that is taken to speak it.
func sendH2(address string, fields [][2]string) (s said) {
	conn, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return said{status: "closed", trouble: err}
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(10 * time.Second))
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range fields {
		encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]})
	}
	out := bufio.NewWriter(conn)
	framer := http2.NewFramer(out, conn)
	framer.AllowIllegalWrites = true
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	out.WriteString(http2.ClientPreface)
	framer.WriteSettings()
	writeBlock(framer, block.Bytes())
	go out.Flush() // likewise
	return readH2(framer)
}

// writeBlock writes a header block, in as many frames as it takes.
func writeBlock(framer *http2.Framer, block []byte) {
	const most = 16_384
	first := block[:min(most, len(block))]
	block = block[len(first):]
	framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: first, EndStream: true, EndHeaders: len(block) == 0})
	for len(block) > 0 {
		next := block[:min(most, len(block))]
		block = block[len(next):]
		framer.WriteContinuation(1, len(block) == 0, next)
	}
}

func readH2(framer *http2.Framer) said {
	s := said{status: "closed", fields: http.Header{}}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			s.trouble = err
			return s
		}
		switch f := frame.(type) {
		case *http2.RSTStreamFrame:
			if s.status == "closed" {
				s.status = "reset"
			}
			return s
		case *http2.GoAwayFrame: // the connection is closed a second later
			s.trouble = errors.New("the server goes away")
			return s
		case *http2.DataFrame:
			s.body += string(f.Data())
		case *http2.MetaHeadersFrame:
			for _, field := range f.Fields {
				s.fields.Add(field.Name, field.Value)
			}
			s.status = orElseText(f.PseudoValue("status"), s.status)
		}
		if frame.Header().StreamID == 1 && frame.Header().Flags.Has(http2.FlagDataEndStream) {
			s.all = []string{s.status}
			if code := s.fields.Get("grpc-status"); code != "" {
				s.status = "grpc-" + code
			}
			return s
		}
	}
}

func orElseText(s, fallback string) string {
	if strings.TrimSpace(s) == "" {
		return fallback
	}
	return s
}
