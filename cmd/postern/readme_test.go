package main

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// An option is what is said of a flag.
type option struct {
	standard string // its default, "" where it has none
	repeats  bool
	required bool // said of flags that have a table, and of no other
}

// options are a command's, by its line, then by the flag's name.
type options map[string]map[string]option

var (
	helpRow    = regexp.MustCompile(`(?m)^  -(\S+).*\n    \t(.*)$`)
	helpValue  = regexp.MustCompile(`\(default "?([^")]+)"?\)$`)
	missing    = regexp.MustCompile(`--(\S+) \(or (POSTERN_\S+)\)`)
	span       = regexp.MustCompile("`([^`]+)`")
	flagSpan   = regexp.MustCompile("`--([a-z0-9-]+)[^`]*`")
	baseFlags  = regexp.MustCompile("those of ([a-z ]+)")
	lessFlag   = regexp.MustCompile("less `--([a-z-]+)`")
	ownDefault = regexp.MustCompile("^[^`]*\\(`([^`]+)`")
	allTake    = regexp.MustCompile(`All that reach the store take (.*?); all that print take (.*?)\.`)
	exitCodes  = regexp.MustCompile(`Exit codes: 0 [^.]*\.`)
)

// alone runs a command line that has nothing but these variables.
func alone(line string, env map[string]string) (code int, said string) {
	var out bytes.Buffer
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	code = run(ctx, strings.Fields(line), process{Getenv: func(name string) string { return env[name] }, Stdin: &out, Stdout: &out, Stderr: &out})
	return code, out.String()
}

// helped is what the program itself says of its flags.
func helped() options {
	all := options{}
	for _, cmd := range commands {
		_, text := alone(cmd.name+" --help", nil)
		usage, text, _ := strings.Cut(text, "\n")
		flags := map[string]option{}
		for _, m := range helpRow.FindAllStringSubmatch(text, -1) {
			o := option{repeats: strings.Contains(m[2], "; may be repeated")}
			if value := helpValue.FindStringSubmatch(m[2]); value != nil {
				o.standard = sameTime(value[1])
			}
			flags[m[1]] = o
		}
		all[strings.TrimPrefix(usage, "usage: postern ")] = flags
	}
	return all
}

// sameTime writes durations in one way, 5m as 5m0s, and none as no default.
func sameTime(text string) string {
	if d, err := time.ParseDuration(text); err == nil {
		return strings.TrimPrefix(d.String(), "0s")
	}
	return text
}

// markRequired marks the flags that a command does not go without.
func (all options) markRequired(name string) {
	env := map[string]string{}
	for {
		_, said := alone(name, env)
		named := missing.FindAllStringSubmatch(said, -1)
		if named == nil || env[named[0][2]] != "" {
			return
		}
		for _, m := range named {
			env[m[2]] = "/dev/null/x"
			o := all[name][m[1]]
			o.required = true
			all[name][m[1]] = o
		}
	}
}

// written is what README.md says of the program's flags; tables are the names
// of commands whose flags have one of their own.
func written(readme string, real options) (all options, tables []string) {
	all = options{}
	common := allTake.FindStringSubmatch(readme)
	if common == nil {
		return all, nil
	}
	for range 2 { // a row may name one below it
		tables = nil
		for _, cells := range rows(readme, "| command | does | its own flags |") {
			for _, m := range span.FindAllStringSubmatch(cells[0], -1) {
				line, own, _ := strings.Cut(strings.TrimPrefix(m[1], "postern "), " --")
				if strings.TrimSpace(cells[2]) == "below" {
					all[line], tables = all.table(readme, line), append(tables, line)
					continue
				}
				flags := all.own("`--" + own + "` " + cells[2])
				_, reaches := real[line]["redis"]
				if _, otherwise := flags["redis"]; reaches && !otherwise {
					maps.Copy(flags, all.own(common[1]))
				}
				maps.Copy(flags, all.own(common[2]))
				all[line] = flags
			}
		}
	}
	return all, tables
}

// own are the flags that a cell of the table of commands names.
func (all options) own(cell string) map[string]option {
	flags := map[string]option{}
	if base := baseFlags.FindStringSubmatch(cell); base != nil {
		for line, of := range all {
			if strings.HasPrefix(line+" ", strings.TrimSpace(base[1])+" ") {
				maps.Copy(flags, of)
			}
		}
	}
	for _, at := range flagSpan.FindAllStringSubmatchIndex(cell, -1) {
		rest, _, _ := strings.Cut(cell[at[1]:], "`--")
		o := option{repeats: strings.Contains(rest, "repeats")}
		if value := ownDefault.FindStringSubmatch(rest); value != nil {
			o.standard = sameTime(value[1])
		}
		flags[cell[at[2]:at[3]]] = o
	}
	if less := lessFlag.FindStringSubmatch(cell); less != nil {
		delete(flags, less[1])
	}
	return flags
}

// table is the table of a command's flags.
func (all options) table(readme, name string) map[string]option {
	flags := map[string]option{}
	for _, cells := range rows(readme, "| flag of `"+name+"` | default | |") {
		for _, m := range flagSpan.FindAllStringSubmatch(cells[0], -1) {
			o := option{repeats: strings.Contains(cells[1]+cells[2], "repeats"), required: strings.HasPrefix(cells[1], "required")}
			if value := strings.Trim(cells[1], " "); len(value) > 2 && value[0] == '`' {
				o.standard = sameTime(strings.Trim(value, "`"))
			}
			if strings.Contains(cells[2], "as for `serve`") {
				o = all["serve"][m[1]]
			}
			flags[m[1]] = o
		}
	}
	return flags
}

// rows are the cells of the table under a heading.
func rows(text, heading string) (all [][]string) {
	_, text, _ = strings.Cut(text, "\n"+heading+"\n")
	text, _, _ = strings.Cut(text, "\n\n")
	for line := range strings.Lines(text) {
		if cells := strings.Split(strings.Trim(line, "|\n"), "|"); len(cells) == 3 && !strings.HasPrefix(line, "|---") {
			all = append(all, []string{strings.TrimSpace(cells[0]), strings.TrimSpace(cells[1]), cells[2]})
		}
	}
	return all
}

// untrue are the differences between README.md and the program.
func untrue(readme string) (all []string) {
	real := helped()
	said, tables := written(readme, real)
	for _, name := range tables {
		real.markRequired(name)
	}
	for _, line := range slices.Sorted(maps.Keys(union(real, said))) {
		if real[line] == nil || said[line] == nil {
			all = append(all, fmt.Sprintf("postern %s: the program has it: %t, README.md: %t", line, real[line] != nil, said[line] != nil))
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(union(real[line], said[line]))) {
			got, is := real[line][name]
			want, documented := said[line][name]
			if is != documented || !reflect.DeepEqual(got, want) {
				all = append(all, fmt.Sprintf("postern %s --%s: the program has it: %t, as %+v; README.md: %t, as %+v", line, name, is, got, documented, want))
			}
		}
	}
	return all
}

func union[V any](a, b map[string]V) map[string]V {
	both := maps.Clone(a)
	maps.Copy(both, b)
	return both
}

func readReadme(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// README.md has every command, with its arguments, every flag, and its default.
func TestReadmeHasAllFlags(t *testing.T) {
	t.Parallel()
	for _, difference := range untrue(readReadme(t)) {
		t.Error(difference)
	}
}

// The controls: a difference of any kind is found.
func TestReadmeDifferences(t *testing.T) {
	t.Parallel()
	readme := readReadme(t)
	for _, tt := range []struct{ old, new, want string }{
		{"| `postern version` |", "| `postern versions` |", "postern version: the program has it: true"},
		{"| `postern version` |", "| `postern version`, `no such` |", "postern no such: the program has it: false"},
		{"`key promote FILE ID`", "`key promote ID`", "postern key promote FILE ID"},
		{", `--allow-ip CIDR` (repeats; any)", "", "postern secret create --allow-ip"},
		{"(repeats; any)", "(any)", "postern secret create --allow-ip"},
		{"those of secret create, and", "", "postern secret import --permission"},
		{", less `--token-stdin`", "", "postern merchant delete ID --token-stdin"},
		{"(`2s`)", "(`3s`)", "postern secret delete [ID] --wait"},
		{"(`2s`)", "", "postern merchant delete ID --wait"},
		{"`--catalog`, `--ip ADDR`", "`--catalog`", "postern check METHOD PATH --ip"},
		{"`--catalog`, `--ip ADDR`", "`--catalog`, `--ip ADDR`, `--port N`", "postern check METHOD PATH --port"},
		{"`--redis`, `--redis-ca` and `--key-file`;", "`--redis` and `--key-file`;", "postern secret show ID --redis-ca"},
		{"take `--json`", "take nothing more", "postern version --json"},
		{"| `--max-stale D` | `5m` |", "| `--max-stale D` | `6m` |", "postern serve --max-stale"},
		{"| `--ops ADDR` | none |", "| `--ops ADDR` | required |", "postern serve --ops"},
		{"| required, repeats |", "| required |", "postern serve --listen"},
		{"| `--key-file FILE` | required |", "| `--key-file FILE` | none |", "postern serve --key-file"},
		{"| required, or `--oidc-issuer` |", "| none |", "postern admin --tokens"},
		{"`--insecure`, `--drain-timeout`", "`--insecure`", "postern admin --drain-timeout"},
	} {
		altered := strings.Replace(readme, tt.old, tt.new, 1)
		if altered == readme {
			t.Errorf("README.md does not hold %q", tt.old)
		} else if got := strings.Join(untrue(altered), "\n"); !strings.Contains(got, tt.want) {
			t.Errorf("with %q for %q: differences\n%s\nwant one of %q", tt.new, tt.old, got, tt.want)
		}
	}
}

// Every flag of every command comes from the environment, by the name that
// README.md's rule gives it.
func TestReadmeOnEnvironment(t *testing.T) {
	t.Parallel()
	if rule := "`--key-file` is `" + environmentName("key-file") + "`"; !strings.Contains(readReadme(t), rule) {
		t.Errorf("README.md does not say that %s", rule)
	}
	for line, flags := range helped() {
		for name := range flags {
			env := map[string]string{"POSTERN_" + strings.ToUpper(strings.ReplaceAll(name, "-", "_")): "7s"}
			cmd, _ := find(strings.Fields(line))
			c := newCall(t.Context(), cmd, nil, process{Getenv: func(name string) string { return env[name] }, Stdin: &bytes.Buffer{}, Stdout: &bytes.Buffer{}, Stderr: &bytes.Buffer{}})
			err := cmd.run(c)
			if got := c.flags.Lookup(name).Value.String(); got != "7s" && (err == nil || !strings.Contains(err.Error(), `="7s"`)) {
				t.Errorf("%v makes --%s of postern %s %q (%v), want 7s, or that it is refused by name", env, name, line, got, err)
			}
		}
	}
}

// The exit codes are README.md's, and no other.
func TestReadmeOnExitCodes(t *testing.T) {
	t.Parallel()
	said := strings.Join(regexp.MustCompile(`\d`).FindAllString(exitCodes.FindString(readReadme(t)), -1), "")
	seen := map[int]bool{}
	for _, cmd := range commands {
		for line, want := range map[string]int{" --help": exitDone, " --no-such-flag": exitUsage} {
			code, text := alone(cmd.name+line, nil)
			if seen[code] = true; code != want {
				t.Errorf("postern %s%s = exit %d, want %d:\n%s", cmd.name, line, code, want, text)
			}
		}
	}
	for _, tt := range badInput {
		seen[tt.code] = true
	}
	if got := strings.Trim(fmt.Sprint(slices.Sorted(maps.Keys(seen))), "[]"); strings.ReplaceAll(got, " ", "") != said {
		t.Errorf("commands end with %s, README.md names %q", got, said)
	}
}
