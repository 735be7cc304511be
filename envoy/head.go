package envoy

import (
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	modev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	procv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"

	"github.com/postern/postern/authz/fields"
)

// authzSpace is the metadata in which Envoy keeps what the gate said.
const authzSpace = "envoy.filters.http.ext_authz"

// order is what the gate said must happen to an answer.
type order struct {
	paths []fields.Path
	media []string // types that pass as they are
	safe  bool     // the request may be sent again (RFC 9110 section 9.2.1)
}

// readOrder reads the gate's word, and makes sure that Envoy works as the
// filter needs it: in another mode it would send on what we hold.
func readOrder(first *procv3.ProcessingRequest) (order, error) {
	mode := first.GetProtocolConfig().GetResponseBodyMode()
	if mode != modev3.ProcessingMode_FULL_DUPLEX_STREAMED || first.GetResponseHeaders() == nil {
		return order{}, fmt.Errorf("%w: Envoy begins with %T and the mode %v: want response headers and FULL_DUPLEX_STREAMED, as in envoy.yaml", Unannounced, first.GetRequest(), mode)
	}
	said := first.GetMetadataContext().GetFilterMetadata()[authzSpace].GetFields()
	if said["filter"].GetStringValue() != "required" {
		return order{}, fmt.Errorf("%w: Envoy does not hand over what the gate said: want forwarding_namespaces with %s, as in envoy.yaml", Unannounced, authzSpace)
	}
	o := order{safe: said["filter_safe"].GetStringValue() == "yes"}
	for _, v := range said["filter_paths"].GetListValue().GetValues() {
		path, err := fields.Parse(v.GetStringValue())
		if err != nil {
			return order{}, fmt.Errorf("%w: %w", Unannounced, err)
		}
		o.paths = append(o.paths, path)
	}
	if len(o.paths) == 0 {
		return order{}, fmt.Errorf("%w: the gate named no path", Unannounced)
	}
	for _, v := range said["filter_media"].GetListValue().GetValues() {
		o.media = append(o.media, v.GetStringValue())
	}
	return o, nil
}

// head is what the filter reads of an answer's headers.
type head struct {
	status       int
	mediaType    string // in lower case; "" where there is none, or none that can be read
	charset      string
	coding       string // "" for none
	length       int64  // 0 where it is not said
	cacheControl string
	bodiless     bool
}

func readHead(m *procv3.HttpHeaders) (head, error) {
	h := head{bodiless: m.GetEndOfStream()}
	values := func(name string) string { return joined(m.GetHeaders(), name) }
	var err error
	if h.status, err = strconv.Atoi(values(":status")); err != nil {
		return h, fmt.Errorf("%w: the answer has no status: want :status in forward_rules, as in envoy.yaml", Unannounced)
	}
	mediaType, parameters, err := mime.ParseMediaType(values("content-type"))
	if err == nil {
		h.mediaType, h.charset = mediaType, parameters["charset"]
	}
	h.coding = strings.ToLower(values("content-encoding"))
	h.length, _ = strconv.ParseInt(values("content-length"), 10, 64) // a hint: Envoy has framed the body
	h.cacheControl = values("cache-control")
	return h, nil
}

// joined is the value of a field; those of one that came more than once are
// joined, as RFC 9110 section 5.3 says.
func joined(headers *corev3.HeaderMap, name string) string {
	var all []string
	for _, h := range headers.GetHeaders() {
		if h.GetKey() == name {
			all = append(all, headerValue(h))
		}
	}
	return strings.Join(all, ", ")
}

// isJSON reports whether the body is one JSON text by its type.
func (h head) isJSON() bool {
	return h.mediaType == "application/json" || strings.HasPrefix(h.mediaType, "application/") && strings.HasSuffix(h.mediaType, "+json")
}

// packed reports whether the body has the one coding that is undone.
func (h head) packed() bool { return h.coding == "gzip" || h.coding == "x-gzip" }

// refuse says why a body cannot be filtered, by the headers alone. A body that
// is no JSON passes where its type is one of media, and where the answer is an
// error, such as Envoy's own; with the one exception of events, which hold data
// in lines of their own.
func (h head) refuse(media []string) error {
	success := h.status >= 200 && h.status <= 299
	switch {
	case h.status == http.StatusPartialContent:
		return Partial
	case h.coding != "" && h.coding != "identity" && !h.packed():
		return fmt.Errorf("%w: content-encoding %q", Coding, h.coding)
	case h.isJSON() && (h.charset == "" || strings.EqualFold(h.charset, "utf-8")):
		return nil
	case h.isJSON(), h.mediaType == "text/event-stream", success && !slices.Contains(media, h.mediaType):
		return fmt.Errorf("%w: status %d, content-type %q, charset %q", MediaType, h.status, h.mediaType, h.charset)
	}
	return nil
}

// stale are the fields that speak of the bytes that came: validators and
// digests of what the client does not get.
var stale = []string{
	"etag", "last-modified", "content-md5", "digest", "content-digest", "repr-digest", "accept-ranges", "content-encoding",
}

// noLength stands for a length that is not told: HEAD's is that of a body with
// all data in it.
const noLength = -1

// response is what Envoy makes of the headers. length is that of the body.
func (h head) response(length int) *procv3.ProcessingResponse {
	m := &procv3.HeaderMutation{
		RemoveHeaders: stale,
		SetHeaders:    []*corev3.HeaderValueOption{rawHeader("cache-control", private(h.cacheControl))},
	}
	if length == noLength {
		m.RemoveHeaders = append(slices.Clip(stale), "content-length")
	} else {
		m.SetHeaders = append(m.SetHeaders, rawHeader("content-length", strconv.Itoa(length)))
	}
	return &procv3.ProcessingResponse{
		Response: &procv3.ProcessingResponse_ResponseHeaders{
			ResponseHeaders: &procv3.HeadersResponse{Response: &procv3.CommonResponse{HeaderMutation: m}},
		},
		DynamicMetadata: said("clean", "yes"),
	}
}

// private is a Cache-Control field that keeps an answer from all but the
// client's own cache, and else as strict as it was.
func private(was string) string {
	if strings.Contains(was, `"`) { // lists within lists
		return "no-store"
	}
	kept := []string{"private"}
	for directive := range strings.SplitSeq(was, ",") {
		directive = strings.ToLower(strings.TrimSpace(directive))
		name, _, _ := strings.Cut(directive, "=")
		if name != "" && name != "public" && name != "private" && name != "s-maxage" {
			kept = append(kept, directive)
		}
	}
	return strings.Join(kept, ", ")
}
