// Package fields speaks of data inside a JSON body by JSONPath (RFC 9535), and
// removes it. It does no I/O.
package fields

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxSteps bounds a path's depth.
const maxSteps = 32

// Step is one step of a [Path]: a member's name, an element's index, or all
// elements.
type Step struct {
	Name  string // of a member; only where Kind is Member
	Index int    // of an element, from 0; only where Kind is Element
	Kind  Kind
}

// Kind tells what a [Step] selects.
type Kind uint8

// The kinds of step.
const (
	Member   Kind = iota + 1 // .name
	Element                  // [0]
	Elements                 // [*]
)

// Path is a JSONPath of names, indexes and [*] only: it selects places, it
// never asks about values.
type Path []Step

// Parse reads a JSONPath. Of RFC 9535 it takes `$`, `.name`, `['name']`,
// `[0]` and `[*]`, and refuses all else: filters, slices, unions, descendants
// and negative indexes. A path selects at least one step down.
func Parse(text string) (Path, error) {
	rest, ok := strings.CutPrefix(text, "$")
	if !ok {
		return nil, fmt.Errorf("JSONPath %q does not start with $", text)
	}
	var path Path
	for rest != "" {
		step, after, ok := cutStep(rest)
		if !ok {
			return nil, fmt.Errorf("JSONPath %q: %q is no .name, ['name'], [0] or [*]", text, rest)
		}
		path, rest = append(path, step), after
	}
	if len(path) == 0 || len(path) > maxSteps {
		return nil, fmt.Errorf("JSONPath %q has %d steps: want 1 to %d", text, len(path), maxSteps)
	}
	return path, nil
}

func cutStep(s string) (Step, string, bool) {
	if rest, ok := strings.CutPrefix(s, "[*]"); ok {
		return Step{Kind: Elements}, rest, true
	}
	if rest, ok := strings.CutPrefix(s, "."); ok {
		name, rest := cutShorthand(rest)
		return Step{Kind: Member, Name: name}, rest, name != ""
	}
	if rest, ok := strings.CutPrefix(s, "["); ok {
		if rest != "" && (rest[0] == '\'' || rest[0] == '"') {
			return cutQuoted(rest)
		}
		digits, rest, ok := strings.Cut(rest, "]")
		index, err := strconv.Atoi(digits)
		return Step{Kind: Element, Index: index}, rest, ok && err == nil && strconv.Itoa(index) == digits && index >= 0
	}
	return Step{}, "", false
}

// cutShorthand cuts a member-name-shorthand: a letter, `_` or a byte beyond
// ASCII, then digits too.
func cutShorthand(s string) (name, rest string) {
	end := 0
	for i, r := range s {
		letter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '_' || r >= 0x80 && r != utf8.RuneError
		if !letter && (i == 0 || r < '0' || r > '9') {
			break
		}
		end = i + utf8.RuneLen(r)
	}
	return s[:end], s[end:]
}

// cutQuoted cuts a quoted name and its bracket. The only escapes taken are of
// the quote and the backslash.
func cutQuoted(s string) (Step, string, bool) {
	var name strings.Builder
	for i := 1; i < len(s); i++ {
		switch c := s[i]; {
		case c == s[0]:
			rest, ok := strings.CutPrefix(s[i+1:], "]")
			return Step{Kind: Member, Name: name.String()}, rest, ok && utf8.ValidString(name.String())
		case c == '\\' && i+1 < len(s) && (s[i+1] == '\\' || s[i+1] == s[0]):
			i++
			name.WriteByte(s[i])
		case c == '\\' || c < ' ':
			return Step{}, "", false
		default:
			name.WriteByte(c)
		}
	}
	return Step{}, "", false
}

// String is the path in one spelling: equal paths are equal strings.
func (p Path) String() string {
	text := []byte("$")
	for _, step := range p {
		switch step.Kind {
		case Elements:
			text = append(text, "[*]"...)
		case Element:
			text = fmt.Appendf(text, "[%d]", step.Index)
		default:
			text = appendName(text, step.Name)
		}
	}
	return string(text)
}

func appendName(text []byte, name string) []byte {
	if short, rest := cutShorthand(name); short != "" && rest == "" {
		return append(append(text, '.'), name...)
	}
	quoted := strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(name)
	return append(append(append(text, "['"...), quoted...), "']"...)
}
