package trace_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/postern/postern/envoy/trace"
)

const (
	traceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	spanID  = "00f067aa0ba902b7"
	good    = "00-" + traceID + "-" + spanID + "-01"
)

func TestParseParent(t *testing.T) {
	for _, tt := range []struct {
		name, text  string
		ok, sampled bool
	}{
		{"sampled", good, true, true},
		{"not sampled", good[:53] + "00", true, false},
		{"sampled, and random (level 2)", good[:53] + "03", true, true},
		{"flags of others only", good[:53] + "fe", true, false},
		{"a later version", "cc" + good[2:], true, true},
		{"a later version that goes on", "cc" + good[2:] + "-what-ever", true, true},
		{"a later version that goes on with nothing", "cc" + good[2:] + "-", true, true},
		{"a later version that goes on without a dash", "cc" + good[2:] + ".what", false, false},
		{"a later version with longer flags", "cc" + good[2:] + "0", false, false},
		{"this version that goes on", good + "-what", false, false},
		{"this version that ends with a dash", good + "-", false, false},
		{"the version that is none", "ff" + good[2:], false, false},
		{"nothing", "", false, false},
		{"too short", good[:54], false, false},
		{"a space before", " " + good, false, false},
		{"a space behind", good + " ", false, false},
		{"upper case", strings.ToUpper(good), false, false},
		{"a version in upper case", "CC" + good[2:], false, false},
		{"flags in upper case", good[:53] + "0B", false, false},
		{"no hex in the trace", good[:3] + "g" + good[4:], false, false},
		{"no hex in the span", good[:36] + "g" + good[37:], false, false},
		{"no hex in the flags", good[:53] + "0g", false, false},
		{"another mark", strings.Replace(good, "-", "_", 1), false, false},
		{"marks elsewhere", strings.Replace(good, traceID+"-"+spanID, spanID+"-"+traceID, 1), false, false},
		{"no trace", strings.Replace(good, traceID, strings.Repeat("0", 32), 1), false, false},
		{"no span", strings.Replace(good, spanID, strings.Repeat("0", 16), 1), false, false},
		{"two in one", good + "," + good, false, false},
	} {
		p, ok := trace.ParseParent(tt.text)
		if ok != tt.ok || p.Sampled != tt.sampled {
			t.Errorf("%s: %q = sampled %v, %v, want %v, %v", tt.name, tt.text, p.Sampled, ok, tt.sampled, tt.ok)
		}
		if ids := hex.EncodeToString(p.TraceID[:]) + hex.EncodeToString(p.SpanID[:]); ok && ids != traceID+spanID {
			t.Errorf("%s: %q has the ids %s", tt.name, tt.text, ids)
		}
	}
}

// What is taken is, written again, what came; and what is refused leaves
// nothing behind.
func FuzzParseParent(f *testing.F) {
	for _, text := range []string{good, "cc" + good[2:] + "-x", "ff" + good[2:], strings.ToUpper(good), good + "-", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, ok := trace.ParseParent(text)
		if !ok {
			if p != (trace.Parent{}) {
				t.Errorf("%q is refused, and leaves %v", text, p)
			}
			return
		}
		again := text[:2] + "-" + hex.EncodeToString(p.TraceID[:]) + "-" + hex.EncodeToString(p.SpanID[:]) + "-" + text[53:]
		flags, err := hex.DecodeString(text[53:55])
		if again != text || err != nil || p.Sampled != (flags[0]%2 == 1) || p.TraceID == [16]byte{} || p.SpanID == [8]byte{} || len(text) > 55 && text[:2] == "00" {
			t.Errorf("%q is taken for %v, which is %q", text, p, again)
		}
	})
}
