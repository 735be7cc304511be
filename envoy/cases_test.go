package envoy_test

import (
	"bufio"
	"os"
	"strings"
	"testing"
)

// testCase is a line of testdata/cases.txt.
type testCase struct {
	name          string
	authorization string // with tokens in place
	none          bool   // no Authorization field
	client        string // "" where the gate is not told
	method, path  string
	host          string
	want          answer
	envoy         string // the last column
}

// answer is what became of a request.
type answer struct {
	status string
	reason string // "" where the gate was not asked
	scope  string // permissions named in the challenge
}

func parseAnswer(text string) answer {
	fields := strings.SplitN(text+"  ", " ", 3)
	return answer{fields[0], fields[1], strings.TrimSpace(fields[2])}
}

// readCases reads the table, with the tokens of w in place.
func readCases(t *testing.T, w *world) []testCase {
	t.Helper()
	file, err := os.Open("testdata/cases.txt")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var cases []testCase
	for lines := bufio.NewScanner(file); lines.Scan(); {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		columns := strings.Split(line, "|")
		if len(columns) != 6 {
			t.Fatalf("%q has %d columns: want 6", line, len(columns))
		}
		cases = append(cases, newCase(t, columns, w))
	}
	if len(cases) < 90 {
		t.Fatalf("the table has %d cases: want at least 90", len(cases))
	}
	return cases
}

func newCase(t testing.TB, columns []string, w *world) testCase {
	t.Helper()
	unescape := strings.NewReplacer(`\t`, "\t", `\\`, `\`, "{128}", strings.Repeat("a", 128), "{129}", strings.Repeat("a", 129))
	for i := range columns {
		columns[i] = strings.Trim(columns[i], " ")
	}
	request, host, _ := strings.Cut(columns[3], " HOST=")
	method, path, ok := strings.Cut(unescape.Replace(request), " ")
	if !ok {
		t.Fatalf("%s: request %q has no path", columns[0], columns[3])
	}
	c := testCase{
		name: columns[0], none: columns[1] == "-", authorization: unescape.Replace(w.fill(t, columns[1])), client: columns[2],
		method: method, path: path, host: host, want: parseAnswer(columns[4]), envoy: columns[5],
	}
	if c.host == "" {
		c.host = "api.example.com"
	}
	if c.client == "-" {
		c.client = ""
	}
	return c
}

// wantThroughEnvoy is the answer that a client of Envoy gets.
func (c testCase) wantThroughEnvoy() answer {
	if c.envoy == "" {
		return c.want
	}
	return parseAnswer(c.envoy)
}
