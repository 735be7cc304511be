package deploy

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// ways are how the commands of the pages are tried, or why they are not. A
// command is PAGE#HEADING: and its line, in backticks where it stands in a text.
// Whatever is called Test… here is a test.
var ways = []struct{ commands, way string }{
	{"^README.md#Try it: 60 seconds: (make build|bin/postern|export|envoy) ?", "TestReadmeByHand"},
	{"^README.md#.*: docker compose |^README.md#.*: curl ", "TestCompose, which reads them; TestReadmeByHand asks the same of Envoy"},
	{"^README.md#The management API and page: bin/postern ", "TestReadmeByHand"},
	{"README.md#.*: `?docker compose -f docker-compose.yml -f deploy/rate-limits/", "TestCompose, by COMPOSE_FILE"},
	{"^deploy/runbooks/Postern\\w+.md#Check: [a-z]", "TestAlerts, under the fault"},
	{"^deploy/runbooks/PosternStoreUnsafe.md#Fix: [a-z]", "TestAlerts"},
	{"^deploy/envoy/README.md#Check it: curl ", "TestEnvoyPageChecks"},
	{"^deploy/envoy/README.md#By xDS: (mkdir|envoy|cp|mv|curl) ", "not as written, as the folder is root's and the ports fixed: TestXDSUpdates moves the same files elsewhere"},
	{": (kubectl|helm|istioctl) |: `(kubectl|helm) ", "needs a cluster: what they apply is run by TestPod, TestServicePod and TestMeshesFindTheGate"},
	{"^deploy/(istio|envoy-gateway)/README.md#.*: curl .*//GATEWAY/", "needs a cluster: TestEdges asks the same of what is rendered"},
	{"^deploy/helm/postern/README.md#.*: make build && bin/postern key new ", "TestReadmeByHand has both"},
	{"^deploy/shadow/README.md#.*: jq ", "needs jq, as nothing else does; TestShadow reads the same log"},
	{": `redis-cli CLUSTER NODES`", "needs a Redis Cluster"},
	{": `postern |: `bin/postern ", "a form, which TestPagesNameCommands holds against the program"},
	{": .?make( |`|$)(demo|test|lint|build|deploy-test|release)?( KEEP=1)?`?$", ".ci/run, TestBuildIsReproducible; release needs the network"},
	{": `make (bench|bench-filter|hostile|faults|mesh-render|chart-files|vuln)`", "takes minutes, the network, or writes into the repository"},
	{"^CONTRIBUTING.md#.*: `go (test|vet)", "parts of make test"},
	{"^CONTRIBUTING.md#.*: `git tag ", "publishes"},
}

// A command is one that a page shows.
type shownCommand struct{ place, text string }

var (
	inlineCommand = regexp.MustCompile("`((?:make|bin/postern|postern|docker|kubectl|helm|istioctl|curl|redis-cli|promtool|envoy|jq|git|go|key|catalog|merchant|secret|admin|audit) [^`]+)`")
	ownWords      = regexp.MustCompile(`^(key|catalog|merchant|secret|admin|audit) `)
)

// commandsOf are a page's: the lines of its shell blocks, and what stands in
// its text in backticks.
func commandsOf(page, text string) (all []shownCommand) {
	heading, fence := "", ""
	for line := range strings.Lines(text) {
		place := page + "#" + heading + ": "
		if mark, found := strings.CutPrefix(strings.TrimSpace(line), "```"); found {
			if fence = mark; fence == "" {
				fence = "text"
			}
			if mark == "" && fence == "text" {
				fence = ""
			}
		} else if fence != "" && !slices.Contains([]string{"text", "diff", "yaml"}, fence) {
			line, _, _ = strings.Cut(strings.TrimRight(line, "\n"), " # ")
			if last := len(all) - 1; last >= 0 && (line[:1] == "\t" || line[:1] == " " || strings.HasPrefix(line, "done")) {
				all[last].text += "\n" + line // it goes on
			} else {
				all = append(all, shownCommand{place, strings.TrimSpace(line)})
			}
		} else if title, found := strings.CutPrefix(line, "## "); found {
			heading = strings.TrimSpace(title)
		} else if fence == "" {
			for _, m := range inlineCommand.FindAllStringSubmatch(line, -1) {
				text := ownWords.ReplaceAllString(m[1], "postern $0")
				all = append(all, shownCommand{place, "`" + text + "`"})
			}
		}
	}
	return all
}

// pages are the texts that lead somebody through something.
func pages(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"../[ACRS]*.md", "*/README.md", "helm/*/README.md", "runbooks/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", pattern, err, len(files))
		}
		for _, file := range files {
			if name := filepath.Join("deploy", file); name != "CHANGELOG.md" { // which tells of what was
				all[name] = readText(t, file)
			}
		}
	}
	return all
}

// unaccounted are the commands that no way is for, the ways of no command, and
// what is to be made and is no target of the Makefile.
func unaccounted(all []shownCommand, makefile string) (faults []string) {
	used := make([]bool, len(ways))
	for _, c := range all {
		for _, m := range makeTarget.FindAllStringSubmatch(c.text, -1) {
			if !strings.Contains(makefile, "\n"+m[1]+":") {
				faults = append(faults, c.place+c.text+"\nthe Makefile has no target "+m[1])
			}
		}
		i := slices.IndexFunc(ways, func(w struct{ commands, way string }) bool {
			return regexp.MustCompile(w.commands).MatchString(c.place + c.text)
		})
		if i < 0 {
			faults = append(faults, c.place+c.text+"\nno test runs it: let one do so, or say in commands_test.go why not")
		} else {
			used[i] = true
		}
	}
	for i, w := range ways {
		if !used[i] {
			faults = append(faults, "no page has a command of "+w.commands)
		}
	}
	return faults
}

func TestCommandsAreTried(t *testing.T) {
	var all []shownCommand
	for page, text := range pages(t) {
		all = append(all, commandsOf(page, text)...)
	}
	makefile := readText(t, "../Makefile")
	for _, fault := range unaccounted(all, makefile) {
		t.Error(fault)
	}
	planted := commandsOf("README.md", "## Try it: 60 seconds\n```sh\nrm -r x # y\nmake demo no-such && make no-such\n```\n")
	without := slices.DeleteFunc(slices.Clone(all), func(c shownCommand) bool { return strings.Contains(c.text, "jq ") })
	if got := unaccounted(append(without, planted...), makefile); len(got) != 4 || !strings.HasPrefix(got[0], "README.md#Try it: 60 seconds: rm -r x\n") {
		t.Errorf("control: of two new commands, a target and one that is gone is said %q", got)
	}
	tests := sources(t, "_test.go")
	for _, w := range ways {
		for _, name := range testName.FindAllString(w.way, -1) {
			if !hasTest(tests, name) {
				t.Errorf("there is no %s, which is to try %s", name, w.commands)
			}
		}
	}
}

var testName = regexp.MustCompile(`\bTest\w+`)

// sources are the repository's files whose names end so, with their texts.
func sources(t *testing.T, end string) map[string]string {
	t.Helper()
	all := map[string]string{}
	err := filepath.WalkDir("..", func(file string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch name := entry.Name(); {
		case entry.IsDir() && name[0] == '.' && file != "..":
			return filepath.SkipDir
		case !entry.IsDir() && strings.HasSuffix(name, end):
			all[strings.TrimPrefix(file, "../")] = readText(t, file)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// hasTest reports whether there is a test of this name.
func hasTest(tests map[string]string, name string) bool {
	for _, text := range tests {
		if strings.Contains(text, "\nfunc "+name+"(t *testing.T)") {
			return true
		}
	}
	return false
}

// Each invariant of ARCHITECTURE.md is kept in files that are there, by
// functions that are, and has a test that is.
func TestInvariants(t *testing.T) {
	const heading = "Invariants, where they are kept, and the test that fails when they are not"
	table, tests := section(readText(t, "../ARCHITECTURE.md"), heading), sources(t, "_test.go")
	for _, fault := range untested(table, tests) {
		t.Error(fault)
	}
	if rows := strings.Count(table, "\n| "); rows < 10 {
		t.Errorf("ARCHITECTURE.md has %d invariants, want the ten or more there are", rows)
	}
	for _, plant := range [][2]string{{"`TestRemovals`", "`TestNoSuch`"}, {"`envoy/gate.go`", "`envoy/gates.go`"}, {"(`change`)", "(`alter`)"}} {
		altered := strings.Replace(table, plant[0], plant[1], 1)
		if altered != table && len(untested(altered, tests)) == 0 {
			t.Errorf("control: nothing is said of %s for %s", plant[1], plant[0])
		}
	}
}

func untested(table string, tests map[string]string) (faults []string) {
	for line := range strings.Lines(table) {
		cells := strings.Split(line, " | ")
		if len(cells) != 3 || strings.HasPrefix(line, "| |") {
			continue
		}
		fault := func(what string) { faults = append(faults, cells[0]+": "+what) }
		var text string
		for _, m := range codeSpan.FindAllStringSubmatch(cells[1], -1) {
			if !strings.Contains(m[1], "/") { // a function of the file before it
				if !strings.Contains(text, ") "+m[1]+"(") && !strings.Contains(text, "func "+m[1]+"(") {
					fault("there is no function " + m[1] + " there")
				}
			} else if data, err := os.ReadFile(filepath.Join("..", m[1])); err != nil {
				fault(err.Error())
			} else {
				text = string(data)
			}
		}
		named := testName.FindAllString(cells[2], -1)
		if len(named) == 0 {
			fault("no test is named")
		}
		for _, name := range named {
			if !hasTest(tests, name) {
				fault("there is no " + name)
			}
		}
	}
	return faults
}
