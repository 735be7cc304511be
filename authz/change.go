package authz

import (
	"fmt"
	"slices"
	"strings"
)

// Overlap is a pair of templates that one path may match.
type Overlap struct {
	First  string `json:"first"` // the one that wins, where one does
	Second string `json:"second"`
	Line   int    `json:"line"` // of the second

	// Ambiguous tells that OpenAPI's rule does not decide: such a path needs a
	// grant for both.
	Ambiguous bool `json:"ambiguous"`
}

// String says how the overlap resolves.
func (o Overlap) String() string {
	if o.Ambiguous {
		return fmt.Sprintf("%s and %s: a path may match both, and neither is the more concrete; it needs a grant for each", o.First, o.Second)
	}
	return fmt.Sprintf("%s wins over %s where both match", o.First, o.Second)
}

// Overlaps lists the pairs of templates that one path may match, in the
// description's order.
func (c *Catalog) Overlaps() []Overlap {
	var all []Overlap
	for _, r := range c.routes {
		for _, other := range c.meeting(r.template) {
			if other.index <= r.index {
				continue
			}
			o := Overlap{First: r.text, Second: other.text, Line: other.line}
			switch {
			case other.beats(r.template):
				o.First, o.Second = o.Second, o.First
			case !r.beats(other.template):
				o.Ambiguous = true
			}
			all = append(all, o)
		}
	}
	return all
}

// Warnings are what an author should know of a catalog that serves all the
// same: ambiguous templates.
func (c *Catalog) Warnings() []Problem {
	var all []Problem
	for _, o := range c.Overlaps() {
		if o.Ambiguous {
			all = append(all, Problem{Line: o.Line, Text: o.String(), Remedy: "rename a segment, or grant both"})
		}
	}
	return all
}

// Change is what a new catalog changes.
type Change struct {
	Added   []string   `json:"added"`   // permissions
	Removed []string   `json:"removed"` // likewise
	Changed []string   `json:"changed"` // permissions, with what changed in each
	Moved   []Movement `json:"moved"`
}

// Movement is a template whose paths another one catches now.
type Movement struct {
	From string `json:"from"`
	To   string `json:"to"`

	// Unsafe tells that From is gone from the catalog, so that a grant for To
	// would cover paths it did not cover before.
	Unsafe bool `json:"unsafe"`
}

// Diff says what the change from old to c does.
func (c *Catalog) Diff(old *Catalog) Change {
	change := Change{Added: []string{}, Removed: []string{}, Changed: []string{}, Moved: c.moved(old)}
	for _, p := range c.Permissions {
		before := old.Permission(p.ID)
		if before == nil {
			change.Added = append(change.Added, p.ID)
		} else if what := p.diff(before); what != "" {
			change.Changed = append(change.Changed, p.ID+": "+what)
		}
	}
	for _, p := range old.Permissions {
		if c.Permission(p.ID) == nil {
			change.Removed = append(change.Removed, p.ID)
		}
	}
	return change
}

// diff says what became of a permission.
func (p Permission) diff(before *Permission) string {
	was, is := before.lines(), p.lines()
	var what []string
	for _, line := range is {
		if !slices.Contains(was, line) {
			what = append(what, "+ "+line)
		}
	}
	for _, line := range was {
		if !slices.Contains(is, line) {
			what = append(what, "- "+line)
		}
	}
	return strings.Join(what, ", ")
}

// lines spells a permission out, so that two can be compared.
func (p Permission) lines() []string {
	lines := []string{"label " + p.Label}
	for _, e := range p.Endpoints {
		line := e.signature
		if e.Retired {
			line += " (retired)"
		}
		lines = append(lines, line)
		for _, g := range e.Fields {
			lines = append(lines, fmt.Sprintf("%s field group %s %v", e.key, g.ID, g.Paths))
		}
		for _, media := range e.Media {
			lines = append(lines, fmt.Sprintf("%s may answer with %s", e.key, media))
		}
	}
	return lines
}

// moved lists the templates whose paths other templates catch in c: those that
// are gone, and those that a new and more concrete one stands before.
func (c *Catalog) moved(old *Catalog) []Movement {
	all := []Movement{}
	before, after := old.keys(), c.keys()
	for _, was := range old.routes {
		gone := !after[was.key]
		for _, is := range c.meeting(was.template) {
			kept := before[is.key]
			switch {
			case gone && !(kept && is.beats(was.template)):
				all = append(all, Movement{From: was.text, To: is.text, Unsafe: true})
			case !gone && !kept && !was.beats(is.template):
				all = append(all, Movement{From: was.text, To: is.text})
			}
		}
	}
	return all
}

// keys are the catalog's templates, without parameters' names.
func (c *Catalog) keys() map[string]bool {
	keys := make(map[string]bool, len(c.routes))
	for _, r := range c.routes {
		keys[r.key] = true
	}
	return keys
}

// CheckSuccessor refuses a catalog that may not replace c while it serves: one
// in which another template would catch the paths of one that is gone, so that
// older grants would cover what they did not.
func (c *Catalog) CheckSuccessor(next *Catalog) error {
	var refused Problems
	for _, m := range next.moved(c) {
		if m.Unsafe {
			refused = append(refused, Problem{
				Text:   fmt.Sprintf("%s is gone, and %s would catch its paths", m.From, m.To),
				Remedy: fmt.Sprintf("keep %s in the description, with x-postern-retired: true on its operations", m.From),
			})
		}
	}
	if len(refused) > 0 {
		return refused
	}
	return nil
}
