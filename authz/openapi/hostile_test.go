package openapi

import (
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

// A hostile document is refused, or loads, within these.
const (
	maxTime   = 10 * time.Second // of processor time, with the race detector
	maxMemory = 3 << 30          // allocated in all, not at once
)

func TestHostile(t *testing.T) {
	const head = "openapi: 3.1.0\n"
	const paths = head + "paths:\n  /a:\n    get: {operationId: a}\n"
	tests := []struct{ name, document, want string }{
		{"alias bomb", head + bomb(30, 10), "aliases stand for"},
		{"alias of itself", head + "x-a: &a [*a, *a]\n", "aliases stand for"},
		{"alias of what it stands in", head + "x-a: &a {b: {c: *a}}\n", "aliases stand for"},
		{"many aliases", head + "x-a: &a x\nx-b:\n" + repeat(260_000, "- *a\n"), "aliases stand for"},
		{"brackets", strings.Repeat("[", 1_000_000), "max depth"},
		{"braces", strings.Repeat("{a: ", 500_000), "max depth"},
		{"dashes", strings.Repeat("- ", 1_000_000), "max depth"},
		{"indents", indented(1000), "max depth"},
		{"nested JSON", `{"openapi": ` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + "}", "nested more than 200"},
		{"deeply nested JSON", strings.Repeat("[", 1_000_000) + strings.Repeat("]", 1_000_000), "max depth"},
		{"many bytes", head + "# " + strings.Repeat("x", maxBytes), "bytes, more than"},
		{"many values", head + "x-a: [" + strings.Repeat("a,", maxMarks) + "]", "may hold more than"},
		{"many values, but few enough", head + "x-a: [" + strings.Repeat("a,", 100_000) + "]", "no operations"},
		{"many keys", "{" + repeat(50_000, "k%d: 1,") + "}", "no openapi field"},
		{"one key many times", head + "x-a: {" + strings.Repeat("k: 1,", 50_000) + "}", "stands twice"},
		{"many directives", repeat(100_000, "%%TAG !a%d! x\n") + "---\n" + head, "may hold more than"},
		{"many anchors", head + "x-a:\n" + repeat(50_000, "- &a%d x\n"), "no operations"},
		{"many documents", strings.Repeat("---\n", 100_000), "a second document"},
		{"many unknown extensions", head + repeat(50_000, "x-postern-%d: 1\n"), "unknown extension"},
		{"many references to nothing", head + "paths:\n" + repeat(20_000, "  /p%d: {$ref: '#/components/x'}\n"), "names nothing"},
		{"a chain of references", paths + "components:\n  parameters:\n" + chain(20_000), "leads back to itself"},
		{"many operations of one shared path item", head + "paths:\n" + repeat(20_000, "  /p%d: {$ref: '#/x-item'}\n") +
			"x-item:\n  get: {operationId: a}\n  parameters:\n" + repeat(20_000, "  - {name: p%d, in: path}\n"), "is the path item of line"},
		{"schemas in a circle", paths + "components: {schemas: {A: {$ref: '#/components/schemas/B'}, B: {$ref: '#/components/schemas/A'}}}\n", ""},
		{"a path item in a circle", head + "paths: {/a: {$ref: '#/paths/~1a'}}", "leads back to itself"},
		{"a path item within itself", head + "paths: {/a: {get: {operationId: a, x-b: {$ref: '#/paths/~1a'}}}}", ""},
		{"long pointer", head + "paths: {/a: {$ref: '#" + strings.Repeat("/paths", 200_000) + "'}}", "names nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			data := []byte(tt.document)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			start := used(t)
			_, err := Load(data)
			took := used(t) - start
			runtime.ReadMemStats(&after)
			if took > maxTime {
				t.Errorf("took %v, want at most %v", took, maxTime)
			}
			if n := after.TotalAlloc - before.TotalAlloc; n > maxMemory {
				t.Errorf("allocated %d bytes, want at most %d", n, maxMemory)
			}
			problems, _ := errors.AsType[authz.Problems](err)
			if len(problems) > maxProblems || !strings.Contains(fmt.Sprint(err), tt.want) || (err == nil) != (tt.want == "") {
				t.Errorf("got %d problems, %.300v, want %q", len(problems), err, tt.want)
			}
		})
	}
}

// bomb is levels of lists, each of n aliases of the one before.
func bomb(levels, n int) string {
	text := "x-0: &a0 [x]\n"
	for i := 1; i < levels; i++ {
		text += fmt.Sprintf("x-%d: &a%d [%s]\n", i, i, strings.Join(slices.Repeat([]string{fmt.Sprintf("*a%d", i-1)}, n), ", "))
	}
	return text
}

// repeat is format n times, with 0 to n-1 in it where it has a verb.
func repeat(n int, format string) string {
	if !strings.Contains(format, "%d") {
		return strings.Repeat(format, n)
	}
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, format, i)
	}
	return b.String()
}

// chain is n parameters, each a reference to the one before and the first to
// the last.
func chain(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, "    p%d: {$ref: '#/components/parameters/p%d'}\n", i, (i+n-1)%n)
	}
	return b.String()
}

func indented(n int) string {
	var b strings.Builder
	for i := range n {
		b.WriteString(strings.Repeat(" ", i) + "a:\n")
	}
	return b.String()
}

// large is a document of n operations with what real ones have: parameters,
// field groups and schemas.
func large(n int) []byte {
	var b strings.Builder
	b.WriteString("openapi: 3.1.0\nservers: [{url: 'https://example.com/api/3'}]\npaths:\n")
	for i := range n {
		fmt.Fprintf(&b, `  /things%d/{id}/parts/{part}:
    parameters:
      - $ref: "#/components/parameters/id"
      - {name: part, in: path, required: true, x-postern-chars: ":", schema: {type: string}}
    get:
      operationId: getPart%d
      summary: Get part %d
      x-postern-fields:
        price: {label: Include price, paths: ["$.response.price", "$.items[*].price"]}
      responses:
        "200":
          description: The part.
          content:
            application/json:
              schema:
                type: object
                properties:
                  response: {type: object, properties: {id: {type: integer}, price: {type: string}}}
                  next: {$ref: "#/components/schemas/Thing"}
        default: {$ref: "#/components/responses/Error"}
`, i, i, i)
	}
	b.WriteString(`components:
  parameters: {id: {name: id, in: path, required: true, schema: {type: string}}}
  schemas: {Thing: {properties: {next: {$ref: "#/components/schemas/Thing"}}}}
  responses: {Error: {description: What went wrong.}}
`)
	return []byte(b.String())
}

// TestManyOperations loads 10,000 operations in 2 s.
func TestManyOperations(t *testing.T) {
	const operations, want = 10_000 / slowdown, 2 * time.Second
	data := large(operations)
	start := used(t)
	catalog := load(t, data)
	if took := used(t) - start; took > want {
		t.Errorf("%d operations took %v, want at most %v", operations, took, want)
	}
	if got := len(catalog.Permissions); got != operations {
		t.Errorf("got %d permissions, want %d", got, operations)
	}
}

// used is the processor time that the process has used: unlike the clock, it
// does not count what else the machine does.
func used(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func BenchmarkLoad(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		data := large(n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := Load(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
