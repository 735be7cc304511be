package envoy_test

import (
	"net/url"
	"slices"
	"strings"

	"github.com/postern/postern/authz"
)

// backend is one way in which an upstream may read a path.
type backend struct {
	decode     int  // times
	stripFirst bool // path parameters, before decoding
	merge      bool // slashes
	dots       bool // resolved
	strip      bool // path parameters, after decoding
	turn       bool // backslashes
	fold       bool // case
	trail      bool // slashes, dots and blanks at the end go
	extension  bool // goes
}

// backends are all of them: 768.
func backends() (all []backend) {
	for decode := range 3 {
		for bits := range 256 {
			on := func(i int) bool { return bits>>i&1 == 1 }
			all = append(all, backend{
				decode: decode, stripFirst: on(0), merge: on(1), dots: on(2), strip: on(3),
				turn: on(4), fold: on(5), trail: on(6), extension: on(7),
			})
		}
	}
	return all
}

func (b backend) String() string {
	text := string(rune('0' + b.decode))
	for i, on := range []bool{b.stripFirst, b.merge, b.dots, b.strip, b.turn, b.fold, b.trail, b.extension} {
		if on {
			text += " " + []string{"strip-first", "merge", "dots", "strip", "backslash", "fold", "trail", "extension"}[i]
		}
	}
	return text
}

// read is the path that the backend looks up.
func (b backend) read(path string) string {
	path, _, _ = strings.Cut(path, "?")
	if b.stripFirst {
		path = withoutParameters(path)
	}
	for range b.decode {
		path = decodeLoosely(path)
	}
	if b.decode > 0 {
		path, _, _ = strings.Cut(path, "\x00")
	}
	if b.turn {
		path = strings.ReplaceAll(path, `\`, "/")
	}
	if b.strip {
		path = withoutParameters(path)
	}
	for b.merge && strings.Contains(path, "//") {
		path = strings.ReplaceAll(path, "//", "/")
	}
	if b.dots {
		path = withoutDots(path)
	}
	if b.fold {
		path = strings.ToLower(path)
	}
	if b.trail {
		path = strings.TrimRight(path, "/. \t\r\n\x00")
	}
	if i, j := strings.LastIndex(path, "."), strings.LastIndex(path, "/"); b.extension && i > j+1 {
		path = path[:i]
	}
	return path
}

// decodeLoosely decodes each escape that can be, and leaves the others.
func decodeLoosely(path string) string {
	var out strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '%' && i+2 < len(path) {
			if b, err := url.PathUnescape(path[i : i+3]); err == nil {
				out.WriteString(b)
				i += 2
				continue
			}
		}
		out.WriteByte(path[i])
	}
	return out.String()
}

func withoutParameters(path string) string {
	parts := strings.Split(path, "/")
	for i := range parts {
		parts[i], _, _ = strings.Cut(parts[i], ";")
	}
	return strings.Join(parts, "/")
}

// withoutDots resolves dot segments as RFC 3986 section 5.2.4 says.
func withoutDots(path string) string {
	var out []string
	parts := strings.Split(path, "/")
	for i, part := range parts {
		switch part {
		case "..":
			out = out[:max(1, len(out)-1)]
		case ".":
		default:
			out = append(out, part)
			continue
		}
		if i == len(parts)-1 {
			out = append(out, "")
		}
	}
	return strings.Join(out, "/")
}

// judge says what an upstream may take an allowed request for.
type judge struct {
	endpoints []*authz.Endpoint
	models    []backend
	known     map[string][]*authz.Endpoint // by method and reading
}

func newJudge(c *authz.Catalog) *judge {
	return &judge{endpoints: c.All(), models: backends(), known: map[string][]*authz.Endpoint{}}
}

// hijacked finds an endpoint that a request reaches in the eyes of some
// backend, and that is not granted.
func (j *judge) hijacked(method, path string, granted func(*authz.Endpoint) bool) (backend, *authz.Endpoint) {
	for _, b := range j.models {
		for _, e := range j.lookUp(method, b.read(path)) {
			if !granted(e) {
				return b, e
			}
		}
	}
	return backend{}, nil
}

// lookUp is a plain router: any text fills a parameter, and where templates
// differ, those with the most literals win.
func (j *judge) lookUp(method, path string) []*authz.Endpoint {
	if found, ok := j.known[method+path]; ok {
		return found
	}
	var found []*authz.Endpoint
	for _, e := range j.endpoints {
		if e.Method == method && fits(e.Path, path) {
			found = append(found, e)
		}
	}
	best := slices.DeleteFunc(slices.Clone(found), func(e *authz.Endpoint) bool {
		return slices.ContainsFunc(found, func(o *authz.Endpoint) bool { return literals(o.Path) > literals(e.Path) })
	})
	j.known[method+path] = best
	return best
}

func literals(template string) (n int) {
	for part := range strings.SplitSeq(template, "/") {
		if !strings.Contains(part, "{") {
			n++
		}
	}
	return n
}

func fits(template, path string) bool {
	parts, want := strings.Split(path, "/"), strings.Split(template, "/")
	return len(parts) == len(want) && !slices.ContainsFunc(want, func(w string) bool {
		part := parts[0]
		parts = parts[1:]
		return part == "" && w != "" || !strings.Contains(w, "{") && part != w
	})
}
