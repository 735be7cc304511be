package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// secret is what the demo keeps of a secret that it minted.
type secret struct {
	name      string // in the story
	id, token string
}

// variable is the name of the shell variable that holds its text.
func (s secret) variable() string { return strings.ToUpper(s.name) }

// postern runs one command line of the product and shows it with what it prints.
func (d *demo) postern(ctx context.Context, args ...string) (said string, err error) {
	fmt.Fprintln(d.out, "$ "+typed("postern", args...))
	text, err := d.command(ctx, "postern", args...).CombinedOutput()
	fmt.Fprint(d.out, string(text))
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", typed("postern", args...), err, text)
	}
	return string(text), nil
}

// mint runs a command that mints a secret.
func (d *demo) mint(ctx context.Context, name string, args ...string) (secret, error) {
	said, err := d.postern(ctx, args...)
	if err != nil {
		return secret{}, err
	}
	s := secret{name: name, id: field(said, "id"), token: field(said, "secret")}
	if s.id == "" || s.token == "" {
		return secret{}, fmt.Errorf("%s: it printed no secret and id: %s", typed("postern", args...), said)
	}
	d.minted = append(d.minted, s)
	return s, nil
}

// checkDenied shows why a request is denied. It must be, for a reason that says because.
func (d *demo) checkDenied(ctx context.Context, s secret, method, path, because string) error {
	cmd := d.command(ctx, "postern", "check", method, path)
	cmd.Stdin = strings.NewReader(s.token)
	line := fmt.Sprintf(`echo "$%s" | %s`, s.variable(), typed("postern", "check", method, path))
	fmt.Fprintln(d.out, "$ "+line)
	said, err := cmd.CombinedOutput()
	fmt.Fprint(d.out, string(said))
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || !strings.Contains(string(said), because) {
		return fmt.Errorf("%s: got %v and %q, want exit status 1 and %q", line, err, said, because)
	}
	return nil
}

// field is the value of a line "name  value ..." in what a command printed.
func field(said, name string) string {
	for line := range strings.Lines(said) {
		if words := strings.Fields(line); len(words) > 1 && words[0] == name {
			return words[1]
		}
	}
	return ""
}

// typed is a command line as one would type it, in lines of up to 100
// characters where its flags allow.
func typed(program string, args ...string) string {
	text, width := program, len(program)
	for _, arg := range args {
		isFlag := strings.HasPrefix(arg, "--")
		if strings.Contains(arg, " ") {
			arg = `"` + arg + `"`
		}
		if isFlag && width > 70 {
			text, width = text+" \\\n   ", 3
		}
		text, width = text+" "+arg, width+1+len(arg)
	}
	return text
}
