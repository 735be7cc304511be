package fields

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// scanner reads the tokens of JSON strictly, as RFC 8259 has them. Where one
// is not as it must be, its methods report false with at on the byte to blame.
type scanner struct {
	body  []byte // valid UTF-8
	at    int    // body[:at] is read
	spare []byte // for names with escapes
}

// fail is an error at the byte to be read next.
func (s *scanner) fail(reason error) error {
	return &Error{Reason: reason, Offset: s.at}
}

// peek skips whitespace and returns the byte to be read next: 0, which no
// token starts with, at the end.
func (s *scanner) peek() byte {
	for ; s.at < len(s.body); s.at++ {
		if c := s.body[s.at]; c != ' ' && c != '\n' && c != '\r' && c != '\t' {
			return c
		}
	}
	return 0
}

// take reads c, if it is next but for whitespace.
func (s *scanner) take(c byte) bool {
	return s.peek() == c && s.optional(c)
}

// optional reads c, if it is the very next byte.
func (s *scanner) optional(c byte) bool {
	if s.at == len(s.body) || s.body[s.at] != c {
		return false
	}
	s.at++
	return true
}

// scalar reads a value that starts with c and is no object and no array.
func (s *scanner) scalar(c byte) bool {
	switch c {
	case '"':
		_, ok := s.text()
		return ok
	case 'n':
		return s.literal("null")
	case 't':
		return s.literal("true")
	case 'f':
		return s.literal("false")
	}
	return s.number()
}

func (s *scanner) literal(word string) bool {
	ok := bytes.HasPrefix(s.body[s.at:], []byte(word))
	if ok {
		s.at += len(word)
	}
	return ok
}

func (s *scanner) number() bool {
	s.optional('-')
	if !s.optional('0') && !s.digits() {
		return false
	}
	if s.optional('.') && !s.digits() {
		return false
	}
	if !s.optional('e') && !s.optional('E') {
		return true
	}
	if !s.optional('+') {
		s.optional('-')
	}
	return s.digits()
}

func (s *scanner) digits() bool {
	start := s.at
	for s.at < len(s.body) && '0' <= s.body[s.at] && s.body[s.at] <= '9' {
		s.at++
	}
	return s.at > start
}

// text reads a string. raw is what its quotes hold, its escapes checked but
// not undone.
func (s *scanner) text() (raw []byte, ok bool) {
	if !s.optional('"') {
		return nil, false
	}
	start := s.at
	for {
		s.at += plain(s.body[s.at:])
		switch {
		case s.optional('"'):
			return s.body[start : s.at-1], true
		case s.at == len(s.body) || s.body[s.at] != '\\' || !s.escape():
			return nil, false
		}
	}
}

// plain is the length of text before a quote, a backslash or a control
// character.
func plain(text []byte) int {
	for at, c := range text {
		if c < ' ' || c == '"' || c == '\\' {
			return at
		}
	}
	return len(text)
}

func (s *scanner) escape() bool {
	rest := s.body[s.at+1:]
	if len(rest) > 0 && unescaped[rest[0]] != 0 {
		s.at += 2
		return true
	}
	if len(rest) < 5 || rest[0] != 'u' {
		return false
	}
	if _, err := strconv.ParseUint(string(rest[1:5]), 16, 16); err != nil {
		return false
	}
	s.at += 6
	return true
}

// unescaped is what the letter of a two-byte escape stands for.
var unescaped = [256]byte{'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t'}

// unescape returns what raw spells, until the next call. It reports false
// where parsers disagree on that: at NUL, which ends a name for some, and at
// half a surrogate pair.
func (s *scanner) unescape(raw []byte) (name []byte, ok bool) {
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw, true
	}
	name = s.spare[:0]
	for len(raw) > 0 {
		switch {
		case raw[0] != '\\':
			name, raw = append(name, raw[0]), raw[1:]
		case raw[1] != 'u':
			name, raw = append(name, unescaped[raw[1]]), raw[2:]
		default:
			r, size := codePoint(raw)
			if r == 0 || utf16.IsSurrogate(r) {
				return nil, false
			}
			name, raw = utf8.AppendRune(name, r), raw[size:]
		}
	}
	s.spare = name
	return name, true
}

// codePoint reads \uXXXX, or two of them where they are a surrogate pair.
func codePoint(raw []byte) (r rune, size int) {
	unit := func(raw []byte) rune {
		n, _ := strconv.ParseUint(string(raw[2:6]), 16, 16) // checked by escape
		return rune(n)
	}
	r = unit(raw)
	if utf16.IsSurrogate(r) && bytes.HasPrefix(raw[6:], []byte(`\u`)) {
		if pair := utf16.DecodeRune(r, unit(raw[6:])); pair != utf8.RuneError {
			return pair, 12
		}
	}
	return r, 6
}
