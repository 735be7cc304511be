package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/authz/openapi"
)

// lintForm is what catalog lint prints.
type lintForm struct {
	Errors      []authz.Problem `json:"errors"`
	Warnings    []authz.Problem `json:"warnings"`
	Notes       []authz.Problem `json:"notes"`
	Overlaps    []authz.Overlap `json:"overlaps"`
	Permissions []string        `json:"permissions"`
}

func catalogLint(c *call) error {
	asJSON := c.jsonFlag()
	args, err := c.parse(1)
	if err != nil {
		return err
	}
	form, err := lint(args[0])
	if err != nil {
		return err
	}
	if *asJSON {
		err = c.printJSON(form)
	} else {
		c.printLint(args[0], form)
	}
	if err == nil && len(form.Errors) > 0 {
		return errDenied
	}
	return err
}

func lint(file string) (lintForm, error) {
	form := lintForm{Errors: []authz.Problem{}, Warnings: []authz.Problem{}, Notes: []authz.Problem{}, Overlaps: []authz.Overlap{}, Permissions: []string{}}
	data, err := os.ReadFile(file)
	if err != nil {
		return form, fmt.Errorf("catalog: %w: name a file that holds the API's OpenAPI document", err)
	}
	catalog, err := openapi.Load(data)
	switch problems, ok := errors.AsType[authz.Problems](err); {
	case ok:
		form.Errors = problems
		return form, nil
	case err != nil:
		return form, err
	}
	remarks := openapi.Lint(data)
	form.Warnings = append(append(form.Warnings, catalog.Warnings()...), remarks.Warnings...)
	form.Notes = append(form.Notes, remarks.Notes...)
	form.Overlaps = append(form.Overlaps, catalog.Overlaps()...)
	for _, p := range catalog.Permissions {
		form.Permissions = append(form.Permissions, p.ID)
	}
	return form, nil
}

func (c *call) printLint(file string, form lintForm) {
	for _, p := range form.Errors {
		fmt.Fprintf(c.Stdout, "%s:%d: error: %s: %s\n", file, p.Line, p.Text, p.Remedy)
	}
	for _, p := range form.Warnings {
		fmt.Fprintf(c.Stdout, "%s:%d: warning: %s: %s\n", file, p.Line, p.Text, p.Remedy)
	}
	for _, p := range form.Notes {
		fmt.Fprintf(c.Stdout, "%s:%d: note: %s: %s\n", file, p.Line, p.Text, p.Remedy)
	}
	for _, o := range form.Overlaps {
		if !o.Ambiguous {
			fmt.Fprintf(c.Stdout, "%s:%d: note: %s\n", file, o.Line, o)
		}
	}
	fmt.Fprintf(c.Stdout, "errors: %d, warnings: %d, overlaps: %d, permissions: %d\n",
		len(form.Errors), len(form.Warnings), len(form.Overlaps), len(form.Permissions))
}

func catalogDiff(c *call) error {
	asJSON := c.jsonFlag()
	args, err := c.parse(2)
	if err != nil {
		return err
	}
	old, err := readCatalog(args[0])
	if err != nil {
		return err
	}
	next, err := readCatalog(args[1])
	if err != nil {
		return err
	}
	change := next.Diff(old)
	if *asJSON {
		return c.printJSON(change)
	}
	c.printChange(change)
	return nil
}

func (c *call) printChange(change authz.Change) {
	for _, id := range change.Added {
		fmt.Fprintf(c.Stdout, "added: %s: no secret that exists has it\n", id)
	}
	for _, id := range change.Removed {
		fmt.Fprintf(c.Stdout, "removed: %s: secrets that have it are denied there\n", id)
	}
	for _, text := range change.Changed {
		fmt.Fprintf(c.Stdout, "changed: %s\n", text)
	}
	for _, m := range change.Moved {
		if m.Unsafe {
			fmt.Fprintf(c.Stdout, "unsafe: %s is gone, and %s would catch its paths: a sidecar refuses this reload; keep %s, with x-postern-retired: true\n", m.From, m.To, m.From)
		} else {
			fmt.Fprintf(c.Stdout, "moved: paths of %s that match %s resolve to that, and need its grant\n", m.From, m.To)
		}
	}
	if len(change.Added)+len(change.Removed)+len(change.Changed)+len(change.Moved) == 0 {
		fmt.Fprintln(c.Stdout, "nothing changes")
	}
}
