// Package openapi loads OpenAPI documents as catalogs.
package openapi

import (
	"cmp"
	"errors"
	"slices"

	"github.com/postern/postern/authz"
)

// Bounds of a document. Each is far beyond real documents, and keeps a hostile
// one from taking more than a few seconds and two gigabytes.
const (
	maxBytes      = 32 << 20
	maxMarks      = 1_500_000 // , : [ { - ? are what begins a value, or two
	maxDirectives = 1000      // lines that begin with %
	maxDepth      = 200       // of values within values
	maxCopies     = 250_000   // values that aliases stand for
	maxRefs       = 32        // each the target of the one before
	maxProblems   = 1000      // worth telling
)

// Load compiles an OpenAPI 3.0 or 3.1 document, YAML or JSON. It reads nothing
// but data: no file, no network.
//
// The catalog holds the operations under paths, in the document's order, each
// path behind that of its first server. Security requirements, webhooks and
// callbacks are not read. An x-postern extension that is unknown, misplaced or
// of a wrong type is refused, never ignored. The error is an [authz.Problems]
// with all that is wrong, in the order of its lines.
func Load(data []byte) (*authz.Catalog, error) {
	root, problem := parse(data)
	if problem != nil {
		return nil, authz.Problems{*problem}
	}
	d, problem := newDocument(root)
	if problem != nil {
		return nil, authz.Problems{*problem}
	}
	operations := d.operations()
	d.refuseUnread()
	if len(operations) == 0 && len(d.problems) > 0 {
		return nil, sorted(d.problems)
	}
	catalog, err := authz.Compile(operations)
	if err == nil && len(d.problems) == 0 {
		return catalog, nil
	}
	found, ok := errors.AsType[authz.Problems](err)
	if err != nil && !ok {
		return nil, err
	}
	return nil, sorted(append(d.problems, found...))
}

// sorted orders problems by line, and drops repetitions.
func sorted(problems authz.Problems) authz.Problems {
	slices.SortStableFunc(problems, func(a, b authz.Problem) int { return cmp.Compare(a.Line, b.Line) })
	return slices.Compact(problems)
}
