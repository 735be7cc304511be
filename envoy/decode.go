package envoy

import (
	"errors"
	"strings"
	"unicode/utf8"
	"unsafe"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// check is what is read of a CheckRequest.
type check struct {
	method, path, host string
	authorization      string // of the one Authorization field
	credentials        int    // Authorization fields
	filter             bool   // the route says that it has the response filter
}

// The numbers of the fields that are read, in Envoy's service/auth/v3 and
// config/core/v3.
const (
	checkAttributes = 1 // of CheckRequest

	attributesRequest    = 4  // of AttributeContext
	attributesExtensions = 10 // a map
	requestHTTP          = 2  // of AttributeContext.Request

	httpMethod    = 2  // of AttributeContext.HttpRequest
	httpHeaders   = 3  // a map
	httpPath      = 4  //
	httpHost      = 5  //
	httpHeaderMap = 13 // where encode_raw_headers is on

	headerMapHeaders = 1 // of HeaderMap

	entryKey   = 1 // of a map's entry, and of HeaderValue
	entryValue = 2 // likewise
	headerRaw  = 3 // of HeaderValue
)

var errCheck = errors.New("the message is no envoy.service.auth.v3.CheckRequest")

// decodeCheck reads a CheckRequest: what the decision needs, and skips the
// rest. Of a text that stands twice the last one counts, as in protobuf. Where a
// message does, or a header in the map, protobuf has more to say, and decodes
// it all. The check refers to data, which must not change any more.
func decodeCheck(data []byte) (check, error) {
	d := decoder{}
	d.attributes(d.only(data, checkAttributes))
	if !d.twice {
		return d.check, d.err
	}
	var r authv3.CheckRequest
	if err := proto.Unmarshal(data, &r); err != nil {
		return check{}, err
	}
	return readMessage(&r), nil
}

// decoder is a check in the making.
type decoder struct {
	check
	err   error
	twice bool // a message that should stand once does not, or a credential
}

// next takes a field off data. value is nil where it is of another type than
// the messages and strings that are read: protobuf skips such a field.
func (d *decoder) next(data []byte) (number protowire.Number, value, rest []byte) {
	number, kind, n := protowire.ConsumeTag(data)
	if n < 0 {
		d.err = errCheck
		return 0, nil, nil
	}
	data = data[n:]
	if kind == protowire.BytesType {
		value, n = protowire.ConsumeBytes(data)
	} else {
		n = protowire.ConsumeFieldValue(number, kind, data)
		number = 0
	}
	if n < 0 {
		d.err = errCheck
		return 0, nil, nil
	}
	return number, value, data[n:]
}

// only is the message that stands in a field of another one, and in no other.
func (d *decoder) only(data []byte, wanted protowire.Number) (message []byte) {
	for len(data) > 0 {
		number, value, rest := d.next(data)
		data = rest
		if number == wanted {
			d.twice = d.twice || message != nil
			message = value
		}
	}
	return message
}

func (d *decoder) attributes(data []byte) {
	var request []byte
	for len(data) > 0 {
		number, value, rest := d.next(data)
		data = rest
		switch number {
		case attributesRequest:
			d.twice = d.twice || request != nil
			request = value
		case attributesExtensions:
			d.extension(value)
		}
	}
	d.http(d.only(request, requestHTTP))
}

func (d *decoder) extension(data []byte) {
	key, value, _ := d.entry(data)
	if key == filterKey {
		d.filter = value == filterVersion
	}
}

func (d *decoder) http(data []byte) {
	for len(data) > 0 {
		number, value, rest := d.next(data)
		data = rest
		switch number {
		case httpMethod:
			d.text(&d.method, value)
		case httpPath:
			d.text(&d.path, value)
		case httpHost:
			d.text(&d.host, value)
		case httpHeaders:
			name, value, _ := d.entry(value)
			d.twice = d.twice || d.credentials > 0 && isAuthorization(name) // of entries with one key, a map has the last
			d.header(name, value)
		case httpHeaderMap:
			d.headers(value)
		}
	}
}

// headers reads a HeaderMap.
func (d *decoder) headers(data []byte) {
	for len(data) > 0 {
		number, value, rest := d.next(data)
		data = rest
		if number == headerMapHeaders {
			name, value, raw := d.entry(value)
			if raw != "" {
				value = raw
			}
			d.header(name, value)
		}
	}
}

// header takes a header field in, if it is Authorization. Each of them counts,
// wherever it stands.
func (c *check) header(name, value string) {
	if isAuthorization(name) {
		c.authorization = value
		c.credentials++
	}
}

func isAuthorization(name string) bool { return strings.EqualFold(name, "authorization") }

// entry reads an entry of a map, or a HeaderValue.
func (d *decoder) entry(data []byte) (key, value, raw string) {
	for len(data) > 0 {
		number, field, rest := d.next(data)
		data = rest
		switch number {
		case entryKey:
			d.text(&key, field)
		case entryValue:
			d.text(&value, field)
		case headerRaw:
			raw = stringOf(field)
		}
	}
	return key, value, raw
}

// text reads a string, which is UTF-8.
func (d *decoder) text(to *string, value []byte) {
	if !utf8.Valid(value) {
		d.err = errCheck
	}
	*to = stringOf(value)
}

// stringOf is bytes that nobody changes as a text, without a copy.
func stringOf(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// readMessage reads a CheckRequest that was decoded in full. Envoy fills
// headers, or header_map where encode_raw_headers is on: both are read.
func readMessage(r *authv3.CheckRequest) check {
	http := r.GetAttributes().GetRequest().GetHttp()
	c := check{
		method: http.GetMethod(), path: http.GetPath(), host: http.GetHost(),
		filter: r.GetAttributes().GetContextExtensions()[filterKey] == filterVersion,
	}
	for name, value := range http.GetHeaders() {
		c.header(name, value)
	}
	for _, h := range http.GetHeaderMap().GetHeaders() {
		c.header(h.GetKey(), headerValue(h))
	}
	return c
}

// headerValue is the value of a field, which stands in one of two places.
func headerValue(h *corev3.HeaderValue) string {
	if raw := h.GetRawValue(); len(raw) > 0 {
		return string(raw)
	}
	return h.GetValue()
}
