package authz

import (
	"fmt"
	"strings"
)

// Problem is something in an API description that its author must know.
type Problem struct {
	Line   int    `json:"line"` // from 1; 0 where no line can be named
	Text   string `json:"problem"`
	Remedy string `json:"remedy"`
}

// String is the problem on one line.
func (p Problem) String() string {
	text := p.Text + ": " + p.Remedy
	if p.Line == 0 {
		return text
	}
	return fmt.Sprintf("line %d: %s", p.Line, text)
}

// Problems is the error of a description that cannot serve: all that is wrong
// with it, not just the first.
type Problems []Problem

func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}
