//go:build !race

package envoy_test

import (
	"bytes"
	"cmp"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/authz/openapi"
)

// BenchmarkCostBySize measures what a check by one of a thousand secrets costs
// the program, by the size of its catalog and by how many more are in memory:
// 100,000, or POSTERN_BENCH_SECRETS; and what one by any of those costs. The
// figures are means of the turns: one in which garbage is collected costs
// several of the others, and that is part of the price. It also tells how long
// after its start the program serves.
func BenchmarkCostBySize(b *testing.B) {
	many := 100_000
	if text := os.Getenv("POSTERN_BENCH_SECRETS"); text != "" {
		n, err := strconv.Atoi(text)
		must(b, err)
		many = n
	}
	w := newWorld(b)
	small, large := catalogOf(b, 10), catalogOf(b, 10_000)
	tokens := w.holders(b, small, many)
	few := tokens[:1000]
	all := []*sizes{
		{name: "few", catalog: small, known: few, tokens: few},
		{name: "operations", catalog: large, known: few, tokens: few},
		{name: "any-secret", catalog: small, known: tokens, tokens: tokens},
		{name: "secrets", catalog: small, known: tokens, tokens: few},
	}
	for _, x := range all {
		x.process = w.processOf(b, x.catalog, many)
		for _, tokens := range [][]string{x.known, x.tokens} {
			check, err := proto.Marshal(w.asks(b, tokens[0]).checkRequest(false))
			must(b, err)
			x.asker = newAsker(b, x.process.address, check)
			x.asker.vary(b, tokens)
			x.asker.late = true
			x.asker.ask(b, len(tokens), 32) // from the store
			x.asker.late = false
		}
	}
	time.Sleep(2 * usageEvery) // until uses are written, and what was used once has gone
	before := w.reads()
	b.ReportMetric(0, "ns/op") // of all turns: it says nothing
	for range turns {
		for _, x := range all {
			x.turn(b)
		}
	}
	if n := w.reads() - before; n > turns*checks/100 {
		b.Errorf("the store was asked %d times while all was in memory", n)
	}
	for _, x := range all {
		for _, token := range []string{x.tokens[0], x.tokens[len(x.tokens)-1]} {
			c := w.asks(b, token)
			if response, err := dial(b, x.address).Check(b.Context(), c.checkRequest(false)); err != nil || answerOf(response) != c.want {
				b.Errorf("%s: %+v, %v, want %+v", x.name, answerOf(response), err, c.want)
			}
		}
	}
	b.ReportMetric(mean(all[0].cpu), "few-cpu-µs/check")
	for _, x := range all[1:] {
		b.ReportMetric(mean(x.cpu)/mean(all[0].cpu), x.name+"-cpu-ratio")
	}
	var starts []float64
	thousand := catalogOf(b, 1000)
	for range 5 {
		starts = append(starts, float64(w.processOf(b, thousand, 1000).ready.Microseconds())/1e3)
	}
	b.ReportMetric(median(starts), "start-ms")
}

// sizes is a process that is compared with others.
type sizes struct {
	process
	name, catalog string
	known, tokens []string // in memory; in use
	asker         *asker
	cpu           []float64 // µs a check
}

// turns are how often each takes checks.
const turns, checks = 10, 30_000

const usageEvery = 5 * time.Second

func (x *sizes) turn(b *testing.B) {
	before := x.process.cpu(b)
	x.asker.ask(b, checks, 32)
	x.cpu = append(x.cpu, float64((x.process.cpu(b)-before).Nanoseconds())/1e3/checks)
}

func mean(all []float64) (m float64) {
	for _, x := range all {
		m += x / float64(len(all))
	}
	return m
}

// catalogOf is a file with an OpenAPI document of n operations.
func catalogOf(t testing.TB, n int) (file string) {
	t.Helper()
	var text strings.Builder
	text.WriteString("openapi: 3.0.3\ninfo: {title: t, version: '1'}\nservers: [{url: /api/3}]\npaths:\n")
	for i := range n {
		fmt.Fprintf(&text, "  /things%d/{id}/parts:\n    get: {operationId: op%d, summary: Parts of things %d, parameters: [{name: id, in: path, required: true, schema: {type: string}}], responses: {'200': {description: parts}}}\n", i, i, i)
	}
	file = filepath.Join(t.TempDir(), "catalog.yaml")
	must(t, os.WriteFile(file, []byte(text.String()), 0o600))
	return file
}

// processOf starts the program with this catalog, and room for n secrets.
func (w *world) processOf(t testing.TB, catalog string, n int) process {
	return w.ownProcess(t, "POSTERN_CATALOG="+catalog, "POSTERN_CACHE_SIZE="+strconv.Itoa(n), "POSTERN_USAGE_EVERY="+usageEvery.String())
}

// holders makes n secrets with ten grants, and returns their tokens.
func (w *world) holders(t testing.TB, catalog string, n int) []string {
	t.Helper()
	data, err := os.ReadFile(catalog)
	must(t, err)
	c, err := openapi.Load(data)
	must(t, err)
	draft := authz.Draft{Description: "for a test"}
	for i := range 10 {
		draft.Permissions = append(draft.Permissions, authz.ParseChoice(fmt.Sprint("op", i)))
	}
	tokens := make([]string, n)
	var group sync.WaitGroup
	for part := range 8 {
		group.Go(func() {
			for i := part; i < n; i += 8 {
				d := draft
				d.Merchant = fmt.Sprint("m-", i%1000)
				secret, err := d.Secret(c, time.Now())
				token, _, failed := w.store.Create(t.Context(), secret)
				if err := cmp.Or(err, failed); err != nil {
					t.Error(err)
					return
				}
				tokens[i] = token.Reveal()
			}
		})
	}
	group.Wait()
	if t.Failed() {
		t.FailNow()
	}
	return tokens
}

// asks is a check by a token of holders.
func (w *world) asks(t testing.TB, token string) testCase {
	return newCase(t, []string{"asks", "Bearer " + token, "127.0.0.1", "GET /api/3/things9/PP1/parts", "200 granted", ""}, w)
}

// vary has each check come with one of the tokens, which are of one length; the
// message holds the first of them.
func (a *asker) vary(t testing.TB, tokens []string) {
	t.Helper()
	at := bytes.Index(a.data, []byte(tokens[0]))
	if at < 0 {
		t.Fatal("the check does not hold its token")
	}
	order := rand.Perm(len(tokens))
	a.next = func(n int) { copy(a.data[at:], tokens[order[n%len(order)]]) }
}
