package authz

import (
	"errors"
	"fmt"
	"strings"
)

// maxValue bounds a path value, in bytes.
const maxValue = 128

// unreserved holds the bytes of a path value (RFC 3986 section 2.3). Nothing
// that a server may decode, split or drop is among them.
const unreserved = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~-"

// widening holds the further bytes that a catalog may allow in one parameter:
// what RFC 3986 lets a segment hold, less percent signs and `;`, which servers
// take for the start of a path parameter.
const widening = ":@!$&'()*+,="

// charset is a set of bytes.
type charset [256]bool

func newCharset(bytes string) *charset {
	var set charset
	for i := range len(bytes) {
		set[bytes[i]] = true
	}
	return &set
}

func (c *charset) holds(s string) bool {
	for i := range len(s) {
		if !c[s[i]] {
			return false
		}
	}
	return true
}

// String lists the set's bytes in order.
func (c *charset) String() string {
	var text []byte
	for b, in := range c {
		if in {
			text = append(text, byte(b))
		}
	}
	return string(text)
}

var (
	valueChars  = newCharset(unreserved)
	legacyChars = newCharset(unreserved + ":@")
	templateSet = newCharset(unreserved + widening)
	nameChars   = newCharset(unreserved + "/:")
	tokenChars  = newCharset("!#$%&'*+-.^_`|~ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
)

// isValue reports whether s may fill a parameter whose bytes are chars: 1 to
// 128 of them, and not only dots, which servers resolve.
func isValue(s string, chars *charset) bool {
	return len(s) >= 1 && len(s) <= maxValue && chars.holds(s) && strings.Trim(s, ".") != ""
}

// wellFormed reports whether a legacy secret may use path, catalogued or not:
// `/`, then path values (`:` and `@` too) between slashes, and one trailing
// `/` at most.
func wellFormed(path string) bool {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return false
	}
	for rest != "" {
		var segment string
		segment, rest, _ = strings.Cut(rest, "/")
		if !isValue(segment, legacyChars) {
			return false
		}
	}
	return true
}

// segment is one part of a template between slashes: a literal, or a parameter
// with literal bytes around it.
type segment struct {
	prefix string   // the whole literal where chars is nil
	suffix string   // bytes after the parameter
	chars  *charset // bytes of the parameter's value; nil in a literal
}

func (s segment) literal() bool { return s.chars == nil }

// plain reports whether the segment is a parameter and nothing else.
func (s segment) plain() bool { return s.chars != nil && s.prefix == "" && s.suffix == "" }

func (s segment) matches(text string) bool {
	if s.literal() {
		return text == s.prefix
	}
	return len(text) > len(s.prefix)+len(s.suffix) &&
		strings.HasPrefix(text, s.prefix) && strings.HasSuffix(text, s.suffix) &&
		isValue(text[len(s.prefix):len(text)-len(s.suffix)], s.chars)
}

// meets reports whether some text may match both segments. Of two parameters
// it may say yes where the truth is no, never the other way round.
func (s segment) meets(t segment) bool {
	switch {
	case s.literal():
		return t.matches(s.prefix)
	case t.literal():
		return s.matches(t.prefix)
	case s.plain():
		return s.chars.holds(t.prefix) && s.chars.holds(t.suffix)
	case t.plain():
		return t.meets(s)
	}
	return (strings.HasPrefix(s.prefix, t.prefix) || strings.HasPrefix(t.prefix, s.prefix)) &&
		(strings.HasSuffix(s.suffix, t.suffix) || strings.HasSuffix(t.suffix, s.suffix))
}

// template is a parsed path template.
type template struct {
	text     string // as the catalog writes it, parameter names and all
	key      string // the same without the names: `/orders/{}/label`
	segments []segment
}

// parseTemplate parses a path template: `/`, then literals and `{name}`
// parameters between slashes. extra widens parameters, by name.
func parseTemplate(text string, extra map[string]string) (template, error) {
	rest, ok := strings.CutPrefix(text, "/")
	if !ok {
		return template{}, fmt.Errorf("path %q does not start with /", text)
	}
	t := template{text: text}
	unused := len(extra)
	for part := range strings.SplitSeq(rest, "/") {
		s, name, err := parseSegment(part, extra)
		if err != nil {
			return template{}, fmt.Errorf("path %q: %w", text, err)
		}
		if _, ok := extra[name]; ok && name != "" {
			unused--
		}
		t.segments = append(t.segments, s)
	}
	t.key = templateKey(text)
	if err := t.check(); err != nil {
		return template{}, fmt.Errorf("path %q: %w", text, err)
	}
	if unused > 0 {
		return template{}, fmt.Errorf("path %q: x-postern-chars names a parameter that the path does not have", text)
	}
	return t, nil
}

// check refuses what only the whole template shows.
func (t template) check() error {
	names := map[string]bool{}
	for i, part := range strings.Split(t.text[1:], "/") {
		if part == "" && i < len(t.segments)-1 {
			return errors.New("it has an empty segment: write one slash")
		}
		name := parameterName(part)
		if name != "" && names[name] {
			return fmt.Errorf("parameter {%s} stands twice: give each its own name", name)
		}
		names[name] = true
	}
	return nil
}

// templateKey is a template without its parameters' names, which are no part
// of an endpoint.
func templateKey(text string) string {
	var key strings.Builder
	for {
		before, rest, found := strings.Cut(text, "{")
		key.WriteString(before)
		if !found {
			return key.String()
		}
		_, text, _ = strings.Cut(rest, "}")
		key.WriteString("{}")
	}
}

func parameterName(part string) string {
	_, rest, _ := strings.Cut(part, "{")
	name, _, _ := strings.Cut(rest, "}")
	return name
}

// signature tells templates apart that decide otherwise: by their parameters'
// bytes too.
func (t template) signature() string {
	text := t.key
	for i, s := range t.segments {
		if s.chars != nil && *s.chars != *valueChars {
			text += fmt.Sprintf(" %d:%s", i, s.chars)
		}
	}
	return text
}

// parseSegment parses what stands between two slashes of a template.
func parseSegment(part string, extra map[string]string) (segment, string, error) {
	if part != "" && strings.Trim(part, ".") == "" {
		return segment{}, "", fmt.Errorf("segment %q is a dot segment, which servers resolve: leave it out", part)
	}
	prefix, rest, hasParameter := strings.Cut(part, "{")
	name, suffix, closed := strings.Cut(rest, "}")
	if hasParameter != closed || strings.ContainsAny(prefix+name, "{}") {
		return segment{}, "", fmt.Errorf("segment %q has an unmatched brace", part)
	}
	if strings.ContainsAny(suffix, "{}") {
		return segment{}, "", fmt.Errorf("segment %q holds more than one parameter: declare it as one", part)
	}
	if err := checkLiteral(part, prefix+suffix); err != nil {
		return segment{}, "", err
	}
	if !hasParameter {
		return segment{prefix: prefix}, "", nil
	}
	if !isValue(name, valueChars) {
		return segment{}, "", fmt.Errorf("parameter {%s} is no plain name: wildcards and operators match more than one endpoint; write {name}", name)
	}
	chars, err := widen(name, extra[name])
	return segment{prefix: prefix, suffix: suffix, chars: chars}, name, err
}

func checkLiteral(part, literal string) error {
	switch {
	case strings.Contains(literal, "%"):
		return fmt.Errorf("segment %q holds a percent sign: paths are compared as bytes, never decoded; write the byte itself", part)
	case strings.Contains(literal, "*"):
		return fmt.Errorf("segment %q holds a wildcard: list each endpoint", part)
	case !templateSet.holds(literal):
		return fmt.Errorf("segment %q holds a byte that no endpoint may have: only A-Z a-z 0-9 . _ ~ - and %s", part, widening)
	}
	return nil
}

// widen is the set of bytes of a parameter's value.
func widen(name, extra string) (*charset, error) {
	if extra == "" {
		return valueChars, nil
	}
	if !newCharset(widening).holds(extra) {
		return nil, fmt.Errorf("x-postern-chars %q of parameter {%s}: only %s may be added", extra, name, widening)
	}
	return newCharset(unreserved + extra), nil
}
