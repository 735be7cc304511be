package envoy

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"sync/atomic"

	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/postern/postern/authz/fields"
)

const (
	chunk    = 64 << 10 // bytes of a body that go to Envoy in one message
	smallest = 4 << 10  // bytes that are held for a body at least
)

// budget bounds the bytes held for all answers.
type budget struct {
	limit int64
	used  atomic.Int64
}

// take reports whether n bytes more may be held.
func (b *budget) take(n int64) bool {
	if b.used.Add(n) > b.limit {
		b.used.Add(-n)
		return false
	}
	return true
}

// body is a body that is held, as far as it has come.
type body struct {
	bytes  []byte
	limit  int64
	memory *budget
	taken  int64
}

// newBody is an empty body that expects n bytes, and is to be released, whatever
// the error.
func (f *Filter) newBody(n int64) (*body, error) {
	b := &body{limit: f.o.MaxBody, memory: &f.memory}
	return b, b.grow(n)
}

// take takes n bytes more of the memory, until release.
func (b *body) take(n int64) error {
	if !b.memory.take(n) {
		return fmt.Errorf("%w: %d bytes are held for other answers", Memory, b.memory.used.Load())
	}
	b.taken += n
	return nil
}

// release gives back what was taken.
func (b *body) release() {
	b.memory.used.Add(-b.taken)
	b.taken = 0
}

// grow makes room for n bytes in all.
func (b *body) grow(n int64) error {
	if n > b.limit {
		return fmt.Errorf("%w: more than %d bytes", TooLarge, b.limit)
	}
	if n <= int64(cap(b.bytes)) {
		return nil
	}
	room := min(max(n, 2*int64(cap(b.bytes)), smallest), b.limit)
	if err := b.take(room - int64(cap(b.bytes))); err != nil {
		return err
	}
	b.bytes = append(make([]byte, 0, room), b.bytes...)
	return nil
}

// Write appends p, or fails and does nothing.
func (b *body) Write(p []byte) (int, error) {
	if err := b.grow(int64(len(b.bytes) + len(p))); err != nil {
		return 0, err
	}
	b.bytes = append(b.bytes, p...)
	return len(p), nil
}

// receive reads the whole body into b, and reports whether trailers follow.
func receive(s procv3.ExternalProcessor_ProcessServer, b *body) (trailers bool, err error) {
	for {
		m, err := s.Recv()
		if err != nil {
			return false, fmt.Errorf("%w: %w", Broken, err)
		}
		switch r := m.GetRequest().(type) {
		case *procv3.ProcessingRequest_ResponseBody:
			if _, err := b.Write(r.ResponseBody.GetBody()); err != nil || r.ResponseBody.GetEndOfStream() {
				return false, err
			}
		case *procv3.ProcessingRequest_ResponseTrailers:
			return true, nil
		default:
			return false, fmt.Errorf("%w: Envoy sends %T within a body", Broken, r)
		}
	}
}

// unpack undoes gzip. The body is to be released, whatever the error.
func (f *Filter) unpack(packed []byte) (*body, error) {
	plain, err := f.newBody(0)
	if err != nil {
		return plain, err
	}
	reader, err := gzip.NewReader(bytes.NewReader(packed))
	if err != nil {
		return plain, fmt.Errorf("%w: %w", Coding, err)
	}
	_, err = io.Copy(plain, reader)
	if err != nil && resultOf(err) == Broken { // not of plain's limits
		err = fmt.Errorf("%w: %w", Coding, err)
	}
	return plain, err
}

// clean is the body without the data at paths. A body that is no JSON by its
// type passes, unless it looks like JSON all the same.
func (b *body) clean(h head, paths []fields.Path) ([]byte, Result, error) {
	if len(b.bytes) == 0 || !h.isJSON() && !looksLikeJSON(b.bytes) {
		return b.bytes, Passed, nil
	}
	if err := b.take(int64(len(b.bytes))); err != nil { // of the result
		return nil, Broken, err
	}
	clean, err := fields.Remove(b.bytes, paths)
	if err != nil {
		return nil, Broken, fmt.Errorf("%w: %w", Invalid, err)
	}
	return clean, Filtered, nil
}

// looksLikeJSON reports whether a body begins as an object or array does.
func looksLikeJSON(b []byte) bool {
	b = bytes.TrimLeft(bytes.TrimPrefix(b, []byte("\ufeff")), " \t\r\n")
	return len(b) > 0 && (b[0] == '{' || b[0] == '[')
}

// send sends a clean answer.
func send(s procv3.ExternalProcessor_ProcessServer, h head, clean []byte, trailers bool) error {
	if err := s.Send(h.response(len(clean))); err != nil {
		return err
	}
	for {
		n := min(len(clean), chunk)
		last := n == len(clean)
		if err := s.Send(bodyResponse(clean[:n], last && !trailers)); err != nil {
			return err
		}
		if clean = clean[n:]; last {
			break
		}
	}
	if !trailers {
		return nil
	}
	return s.Send(&procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseTrailers{
		ResponseTrailers: &procv3.TrailersResponse{HeaderMutation: &procv3.HeaderMutation{RemoveHeaders: stale}},
	}})
}

func bodyResponse(part []byte, end bool) *procv3.ProcessingResponse {
	return &procv3.ProcessingResponse{Response: &procv3.ProcessingResponse_ResponseBody{
		ResponseBody: &procv3.BodyResponse{Response: &procv3.CommonResponse{
			BodyMutation: &procv3.BodyMutation{Mutation: &procv3.BodyMutation_StreamedResponse{
				StreamedResponse: &procv3.StreamedBodyResponse{Body: part, EndOfStream: end},
			}},
		}},
	}}
}
