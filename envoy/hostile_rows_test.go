package envoy_test

import (
	"bufio"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The ways that a row runs.
const (
	alone    = "the gate alone"
	hardened = "hardened Envoy"
	plain    = "default Envoy"
	rawPlain = "default Envoy with encode_raw_headers"
)

// row is a line of testdata/hostile.txt, with tokens in place.
type row struct {
	class, proof string // of its section
	name, why    string
	kind         string      // h1, h2 or grpc
	data         []byte      // what a client sends over HTTP/1
	fields       [][2]string // what it sends over HTTP/2, or what the gate is sent
	want         map[string]outcome
}

// outcome is what became of a row. path is what the upstream got, where that
// is not what was sent.
type outcome struct{ status, reason, path string }

func (o outcome) String() string { return strings.TrimSpace(o.status + " " + o.reason + " " + o.path) }

func parseOutcome(text string) outcome {
	f := strings.SplitN(text+"  ", " ", 3)
	return outcome{f[0], f[1], strings.TrimSpace(f[2])}
}

// readRows reads the corpus.
func readRows(t testing.TB, fill func(string) string) []row {
	t.Helper()
	file, err := os.Open("testdata/hostile.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var rows []row
	names := map[string]bool{}
	class, proof := "", ""
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		switch {
		case line == "" || line[0] == '#':
			continue
		case line[0] == '=':
			class, proof, _ = strings.Cut(strings.TrimSpace(line[1:]), ": ")
			continue
		}
		r, err := parseRow(line, fill)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		if names[r.name] || class == "" {
			t.Fatalf("row %q stands twice, or in no section", r.name)
		}
		names[r.name] = true
		r.class, r.proof = class, proof
		rows = append(rows, r)
	}
	allowed := slices.DeleteFunc(slices.Clone(rows), func(r row) bool { return r.want[hardened].status != "200" })
	if len(rows) < 200 || len(allowed) < 25 {
		t.Fatalf("the corpus has %d rows, %d of them allowed: want 200 and 25", len(rows), len(allowed))
	}
	return rows
}

func parseRow(line string, fill func(string) string) (row, error) {
	columns := strings.Split(line, "|")
	if len(columns) != 6 {
		return row{}, fmt.Errorf("it has %d columns: want 6", len(columns))
	}
	for i := range columns {
		columns[i] = strings.Trim(columns[i], " ")
	}
	r := row{name: columns[0], why: columns[5], want: map[string]outcome{}}
	through, withRaw, differs := strings.Cut(orElseText(columns[4], columns[2]), " ~ ")
	if !differs {
		withRaw = through
	}
	for way, text := range map[string]string{alone: columns[2], hardened: orElseText(columns[3], columns[2]), plain: through, rawPlain: withRaw} {
		if text != "n/a" {
			r.want[way] = parseOutcome(text)
		}
	}
	return r, r.parseRequest(columns[1], fill)
}

// parseRequest puts the bytes of the request together.
func (r *row) parseRequest(text string, fill func(string) string) (err error) {
	r.kind, text, _ = strings.Cut(text, " ")
	common := "¶Host: api.example.com¶Authorization: Bearer {$1}¶¶"
	switch r.kind {
	case "h1":
	case "h2":
		common = "¶:scheme=http¶:authority=api.example.com¶authorization=Bearer {$1}"
	case "grpc":
		common = "¶host=api.example.com¶authorization=Bearer {$1}"
	default:
		return fmt.Errorf("request of kind %q: want h1, h2 or grpc", r.kind)
	}
	text = regexp.MustCompile(`\$(\w+)~?`).ReplaceAllString(text, common)
	if r.kind == "h1" {
		if text, err = unescape(strings.ReplaceAll(text, "¶", "\r\n"), fill); err == nil {
			r.data = []byte(text)
			r.fields, err = readNaively(text)
		}
		return err
	}
	for field := range strings.SplitSeq(text, "¶") {
		i := strings.Index(field, "=")
		if i < 0 {
			return fmt.Errorf("field %q has no =", field)
		}
		name, err := unescape(field[:i], fill)
		if err != nil {
			return err
		}
		value, err := unescape(field[i+1:], fill)
		if err != nil {
			return err
		}
		r.fields = append(r.fields, [2]string{name, value})
	}
	return nil
}

var (
	repeats = regexp.MustCompile(`\{(\d+)\*((?:[^{}]|\{\w+\})*)\}`)
	names   = regexp.MustCompile(`\{[a-z]+\}`)
	escapes = regexp.MustCompile(`\\(x[0-9a-fA-F]{2}|.)`)
)

// unescape puts {N*text}, {token}, \r \n \t \\ \s (a blank), \p (a bar) and
// \xNN in place.
func unescape(text string, fill func(string) string) (string, error) {
	text = repeats.ReplaceAllStringFunc(text, func(m string) string {
		parts := repeats.FindStringSubmatch(m)
		n, _ := strconv.Atoi(parts[1])
		return strings.Repeat(parts[2], n)
	})
	text = fill(text)
	var bad error
	if name := names.FindString(text); name != "" {
		return "", fmt.Errorf("%s names no secret", name)
	}
	text = escapes.ReplaceAllStringFunc(text, func(m string) string {
		if m[1] == 'x' && len(m) == 4 {
			n, _ := strconv.ParseUint(m[2:], 16, 8)
			return string([]byte{byte(n)})
		}
		if known, ok := map[byte]string{'r': "\r", 'n': "\n", 't': "\t", '\\': `\`, 's': " ", 'p': "|"}[m[1]]; ok {
			return known
		}
		bad = fmt.Errorf("escape %q is not known", m)
		return m
	})
	return text, bad
}

// readNaively reads an HTTP/1 request as one would that trusts its sender: the
// gate alone is sent what comes out.
func readNaively(text string) ([][2]string, error) {
	head, _, _ := strings.Cut(text, "\r\n\r\n")
	line, rest, _ := strings.Cut(head, "\r\n")
	method, target, ok := strings.Cut(line, " ")
	if !ok {
		return [][2]string{{":method", line}}, nil
	}
	if i := strings.LastIndex(target, " "); i >= 0 {
		target = target[:i]
	}
	fields := [][2]string{{":method", method}, {":path", target}}
	for line := range strings.SplitSeq(rest, "\r\n") {
		name, value, ok := strings.Cut(line, ":")
		if !ok {
			continue
		}
		if name = strings.ToLower(name); name == "host" {
			name = ":authority"
		}
		fields = append(fields, [2]string{name, strings.Trim(value, " \t")})
	}
	return fields, nil
}

// sent is the path that the row's client sends, and its method.
func (r row) sent() (method, path string) {
	for _, f := range r.fields {
		switch f[0] {
		case ":method", "method":
			method = f[1]
		case ":path", "path":
			path = f[1]
		}
	}
	return method, path
}
