package authz

import (
	"log/slog"
	"strconv"
	"strings"
	"unsafe"
)

// Bounds of a token's length, in bytes.
const (
	minToken = 16
	maxToken = 128
)

// credentialChars are the bytes of a token: RFC 6750's b64token.
var credentialChars = newCharset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~+/=-")

// Token is the text of an API secret. It does not print: every way to format
// or log it, also within other values, shows its length or an address. Its
// zero value is the empty token.
type Token struct {
	first *byte // of the text: a pointer, as fmt follows none within other values, and none of its own, as each check has a token
	size  int
}

// ParseToken takes 16 to 128 bytes of RFC 6750's b64token alphabet. Anything
// else is Malformed.
func ParseToken(text string) (Token, Reason) {
	if len(text) < minToken || len(text) > maxToken || !credentialChars.holds(text) {
		return Token{}, Malformed
	}
	return newToken(text), Undecided
}

func newToken(text string) Token { return Token{unsafe.StringData(text), len(text)} }

// ParseBearer reads the value of an Authorization field: `Bearer`, in any
// case, spaces, and one token (RFC 6750 section 2.1).
func ParseBearer(field string) (Token, Reason) {
	if field == "" {
		return Token{}, NoSecret
	}
	scheme, rest, ok := strings.Cut(field, " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") {
		return Token{}, Malformed
	}
	return ParseToken(strings.TrimLeft(rest, " "))
}

// Reveal is the text. It is for the answer of a secret's creation and for
// nothing else.
func (t Token) Reveal() string {
	return unsafe.String(t.first, t.size) // what newToken took apart
}

// String shows the token's length.
func (t Token) String() string { return "token(" + strconv.Itoa(len(t.Reveal())) + " bytes)" }

// GoString shows the token's length.
func (t Token) GoString() string { return t.String() }

// LogValue shows the token's length.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.String()) }

// MarshalText shows the token's length.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.String()), nil }
