// Package tracetest is a collector of spans, for tests.
package tracetest

import (
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// Path is where a collector takes spans.
const Path = "/v1/traces"

// Span is a span that came.
type Span struct {
	*tracev1.Span
	Trace, ID, Parent  string // ids in hex
	Resource, Told     map[string]string
	Scope, User, Agent string // User has the password too, behind a colon
}

// Collector takes OTLP over HTTP, and what is not that fails the test.
type Collector struct {
	Address string // host:port

	mu    sync.Mutex
	spans []Span
	all   string // each body that came, as bytes
}

// Start starts a collector, which ends with the test.
func Start(t testing.TB) *Collector {
	t.Helper()
	c, server := newCollector(t)
	server.Start()
	return c.at(server)
}

// StartTLS starts one that takes https, and returns the certificate of the
// authority that vouches for it at 127.0.0.1.
func StartTLS(t testing.TB) (*Collector, *x509.Certificate) {
	t.Helper()
	c, server := newCollector(t)
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that do not trust it
	server.StartTLS()
	return c.at(server), server.Certificate()
}

func newCollector(t testing.TB) (*Collector, *httptest.Server) {
	c := &Collector{}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := c.take(r); err != nil {
			t.Errorf("the collector got no spans: %v", err)
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		w.Header().Set("Content-Type", "application/x-protobuf") // of an empty message: all was taken
	}))
	t.Cleanup(server.Close)
	return c, server
}

func (c *Collector) at(server *httptest.Server) *Collector {
	c.Address = server.Listener.Addr().String()
	return c
}

// URL is where the collector takes spans.
func (c *Collector) URL() string { return "http://" + c.Address + Path }

// Spans are those that came, of a service, or of all where that is "".
func (c *Collector) Spans(service string) (spans []Span) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if service == "" || s.Resource["service.name"] == service {
			spans = append(spans, s)
		}
	}
	return spans
}

// Bytes is all that came.
func (c *Collector) Bytes() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.all
}

func (c *Collector) take(r *http.Request) error {
	if r.Method != http.MethodPost || r.URL.Path != Path || r.Header.Get("Content-Type") != "application/x-protobuf" {
		return fmt.Errorf("%s %s of %q", r.Method, r.URL.Path, r.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var data tracev1.TracesData
	if err := proto.Unmarshal(body, &data); err != nil {
		return err
	}
	if err := known(data.ProtoReflect()); err != nil {
		return err
	}
	user, password, _ := r.BasicAuth()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.all += string(body)
	for _, resource := range data.ResourceSpans {
		for _, scope := range resource.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, Span{
					Span: s, Trace: hex.EncodeToString(s.TraceId), ID: hex.EncodeToString(s.SpanId), Parent: hex.EncodeToString(s.ParentSpanId),
					Resource: texts(resource.Resource.GetAttributes()), Told: texts(s.Attributes), Scope: scope.Scope.GetName(),
					User: user + ":" + password, Agent: r.UserAgent(),
				})
			}
		}
	}
	return nil
}

func texts(attributes []*commonv1.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range attributes {
		all[a.Key] = a.Value.GetStringValue()
	}
	return all
}

// known is an error where a message holds what its definition does not.
func known(m protoreflect.Message) (err error) {
	if len(m.GetUnknown()) > 0 {
		err = fmt.Errorf("%s holds fields that are not known", m.Descriptor().FullName())
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.Message() == nil:
		case f.IsList():
			for i := range v.List().Len() {
				err = errors.Join(err, known(v.List().Get(i).Message()))
			}
		default:
			err = errors.Join(err, known(v.Message()))
		}
		return true
	})
	return err
}
