package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strconv"
	"strings"
)

// Exit codes.
const (
	exitDone    = 0
	exitRefused = 1 // refused, or failed
	exitUsage   = 2 // the command line was not understood
)

// process is what a command may touch of the process it runs in.
type process struct {
	Getenv         func(string) string
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// command is one command of the program.
type command struct {
	name      string
	arguments string // as the usage line shows them
	summary   string
	run       func(*call) error
}

// line is the command with its arguments.
func (cmd *command) line() string { return strings.TrimSpace(cmd.name + " " + cmd.arguments) }

var commands = slices.Concat([]command{
	{"key new", "FILE", "make a fresh key file", keyNew},
	{"key add", "FILE", "add a key that verifies", keyAdd},
	{"key promote", "FILE ID", "let a key mint", keyPromote},
	{"key retire", "FILE ID", "take a key away that no live secret needs", keyRetire},
	{"catalog lint", "FILE", "check an OpenAPI document", catalogLint},
	{"catalog diff", "OLD NEW", "say what a new OpenAPI document changes", catalogDiff},
	{"merchant create", "ID", "mint an account's legacy secret", merchantCreate},
	{"merchant delete", "ID", "delete every secret of an account, for good", merchantDelete},
	{"secret create", "", "mint a secret with permissions", secretCreate},
	{"secret list", "", "list a merchant's live secrets", secretList},
	{"secret show", "ID", "show one secret", secretShow},
	{"secret delete", "[ID]", "delete a secret, for good", secretDelete},
	{"secret rotate", "ID", "mint a secret like this one, beside it", secretRotate},
	{"secret import", "", "take in a token minted elsewhere", secretImport},
}, adminCommands, []command{
	{"check", "METHOD PATH", "read a token on stdin, and say what it may do and why", check},
	{"serve", "", "answer Envoy's checks", serve},
	{"health", "ADDR", "ask a sidecar's --ops address whether it is ready", health},
	{"version", "", "print the version", version},
})

// usageError is a command line that was not understood.
type usageError struct{ error }

func usagef(format string, a ...any) error { return usageError{fmt.Errorf(format, a...)} }

// errDenied ends a command that has already said all there is to say.
var errDenied = errors.New("denied")

// run runs one command line and returns its exit code.
func run(ctx context.Context, args []string, p process) int {
	cmd, rest := find(args)
	if cmd == nil {
		return help(args, p)
	}
	c := newCall(ctx, cmd, rest, p)
	err := cmd.run(c)
	switch {
	case err == nil:
		return exitDone
	case errors.Is(err, flag.ErrHelp):
		c.printHelp(p.Stdout)
		return exitDone
	case errors.Is(err, errDenied):
		return exitRefused
	}
	fmt.Fprintf(p.Stderr, "postern %s: %v\n", cmd.name, err)
	if c.wantsJSON() {
		json.NewEncoder(p.Stdout).Encode(map[string]string{"error": err.Error()})
	}
	if _, ok := errors.AsType[usageError](err); ok {
		fmt.Fprintf(p.Stderr, "usage: postern %s; --help lists the flags\n", cmd.line())
		return exitUsage
	}
	return exitRefused
}

// wantsJSON reports whether --json was asked for, also where the command line
// could not be understood.
func (c *call) wantsJSON() bool {
	f := c.flags.Lookup("json")
	if f == nil {
		return false
	}
	fromEnvironment, _ := strconv.ParseBool(c.Getenv(environmentName("json")))
	return f.Value.String() == "true" || fromEnvironment ||
		slices.ContainsFunc(c.args, func(a string) bool { return a == "-json" || a == "--json" })
}

// find finds the command that args begin with.
func find(args []string) (*command, []string) {
	for i := range commands {
		words := strings.Fields(commands[i].name)
		if len(args) >= len(words) && slices.Equal(args[:len(words)], words) {
			return &commands[i], args[len(words):]
		}
	}
	return nil, nil
}

// help lists the commands: on stdout where that was asked for.
func help(args []string, p process) int {
	out, code := p.Stdout, exitDone
	if len(args) == 0 || !slices.Contains([]string{"help", "-h", "-help", "--help"}, args[len(args)-1]) {
		out, code = p.Stderr, exitUsage
		switch {
		case len(args) == 0:
		case strings.HasPrefix(args[0], "-"): // not shown: it may hold a password
			fmt.Fprintln(out, "postern: the command comes first, then its flags")
		default:
			fmt.Fprintf(out, "postern: there is no command %q\n", strings.Join(args[:min(len(args), 2)], " "))
		}
	}
	fmt.Fprintln(out, "usage: postern COMMAND [flags]; postern COMMAND --help lists a command's flags")
	for _, cmd := range commands {
		fmt.Fprintf(out, "  %-30s %s\n", cmd.line(), cmd.summary)
	}
	return code
}

// call is one run of a command: its flags and its streams.
type call struct {
	process
	ctx   context.Context
	cmd   *command
	args  []string
	flags *flag.FlagSet
}

func newCall(ctx context.Context, cmd *command, args []string, p process) *call {
	flags := flag.NewFlagSet(cmd.name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return &call{process: p, ctx: ctx, cmd: cmd, args: args, flags: flags}
}

// parse reads the command line as parseAny does. It wants n arguments.
func (c *call) parse(n int) ([]string, error) {
	arguments, err := c.parseAny()
	if err == nil && len(arguments) != n {
		err = usagef("arguments: %d, want %d", len(arguments), n)
	}
	return arguments, err
}

// parseAny reads the command line, flags before and after arguments, then the
// environment for flags that were not given.
func (c *call) parseAny() ([]string, error) {
	var arguments []string
	for rest := c.args; ; {
		if err := c.flags.Parse(rest); err != nil {
			if errors.Is(err, flag.ErrHelp) {
				return nil, err
			}
			return nil, usageError{withoutToken(err)}
		}
		if rest = c.flags.Args(); len(rest) == 0 {
			break
		}
		arguments, rest = append(arguments, rest[0]), rest[1:]
	}
	return arguments, c.parseEnvironment()
}

// parseEnvironment sets the flags that were not given from POSTERN_<FLAG>.
// A list is comma-separated there.
func (c *call) parseEnvironment() (err error) {
	given := map[string]bool{}
	c.flags.Visit(func(f *flag.Flag) { given[f.Name] = true })
	c.flags.VisitAll(func(f *flag.Flag) {
		name := environmentName(f.Name)
		value := c.Getenv(name)
		if given[f.Name] || value == "" || err != nil {
			return
		}
		values := []string{value}
		if _, ok := f.Value.(*list); ok {
			values = strings.Split(value, ",")
		}
		for _, v := range values {
			if e := c.flags.Set(f.Name, strings.TrimSpace(v)); e != nil {
				err = usagef("%s=%q: %v", name, value, e)
			}
		}
	})
	return err
}

func environmentName(flag string) string {
	return "POSTERN_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// given reports whether a flag was given.
func (c *call) given(name string) (given bool) {
	c.flags.Visit(func(f *flag.Flag) { given = given || f.Name == name })
	return given
}

// require refuses a call without these flags.
func (c *call) require(names ...string) error {
	var missing []string
	for _, name := range names {
		if c.flags.Lookup(name).Value.String() == "" {
			missing = append(missing, fmt.Sprintf("--%s (or %s)", name, environmentName(name)))
		}
	}
	if len(missing) > 0 {
		return usagef("%s is missing", strings.Join(missing, " and "))
	}
	return nil
}

func (c *call) printHelp(out io.Writer) {
	fmt.Fprintf(out, "usage: postern %s\n%s.\n", c.cmd.line(), c.cmd.summary)
	c.flags.SetOutput(out)
	c.flags.PrintDefaults()
}

// list is a flag that may be given more than once.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(value string) error {
	*l = append(*l, value)
	return nil
}

func (c *call) list(name, usage string) *list {
	l := new(list)
	c.flags.Var(l, name, usage+"; may be repeated")
	return l
}

// jsonFlag is the flag that asks for JSON.
func (c *call) jsonFlag() *bool { return c.flags.Bool("json", false, "print one JSON document") }

// printJSON prints one document.
func (c *call) printJSON(value any) error {
	encoder := json.NewEncoder(c.Stdout)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func (c *call) warn(format string, a ...any) {
	fmt.Fprintf(c.Stderr, "postern %s: warning: %s\n", c.cmd.name, fmt.Sprintf(format, a...))
}

// logger is the log of a server: JSON on stderr, durations as in flags.
func (c *call) logger() *slog.Logger {
	readable := func(_ []string, a slog.Attr) slog.Attr {
		if a.Value.Kind() == slog.KindDuration {
			a.Value = slog.StringValue(a.Value.Duration().String())
		}
		return a
	}
	return slog.New(slog.NewJSONHandler(c.Stderr, &slog.HandlerOptions{ReplaceAttr: readable}))
}

// withoutToken is the error of a flag that is none, without its name where that
// is as long as a token: tokens may begin with a dash.
func withoutToken(err error) error {
	const unknown = "flag provided but not defined: "
	if name, ok := strings.CutPrefix(err.Error(), unknown); ok && len(name) > 20 {
		return errors.New(unknown + "it is not shown, as it may be a token, which --token-stdin takes")
	}
	return err
}
