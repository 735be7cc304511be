package trace

import (
	"encoding/hex"
	"strings"
)

// Parent is the span that a check was asked from.
type Parent struct {
	TraceID [16]byte
	SpanID  [8]byte
	Sampled bool // its spans are kept
}

// The parts of a traceparent: version-trace-parent-flags, in hex.
const (
	traceAt, spanAt, flagsAt = 3, 36, 53
	parentLen                = 55
)

// ParseParent reads a traceparent (W3C Trace Context, section 3.2). It reports
// false where the caller is to be taken as if it had sent none. A version that
// is not known yet may go on after the known parts.
func ParseParent(text string) (p Parent, ok bool) {
	if len(text) < parentLen || text[traceAt-1] != '-' || text[spanAt-1] != '-' || text[flagsAt-1] != '-' {
		return Parent{}, false
	}
	var version, flags [1]byte
	for _, part := range []struct {
		to   []byte
		from int
	}{{version[:], 0}, {p.TraceID[:], traceAt}, {p.SpanID[:], spanAt}, {flags[:], flagsAt}} {
		digits := text[part.from : part.from+2*len(part.to)]
		if _, err := hex.Decode(part.to, []byte(digits)); err != nil || strings.ContainsAny(digits, "ABCDEF") {
			return Parent{}, false
		}
	}
	further := text[parentLen:]
	switch {
	case version[0] == 0xff, version[0] == 0 && further != "", further != "" && further[0] != '-',
		p.TraceID == [16]byte{}, p.SpanID == [8]byte{}:
		return Parent{}, false
	}
	p.Sampled = flags[0]&1 == 1
	return p, true
}
