package authz

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// node is a place in the tree of templates: what may follow the segments read
// so far.
type node struct {
	literals   map[string]*node
	parameters []parameter // in the order added; the plain one too
	route      *route      // the template that ends here, or nil
}

type parameter struct {
	segment
	next *node
}

func (n *node) add(r *route) {
	for _, s := range r.segments {
		n = n.child(s)
	}
	n.route = r
}

// child finds or makes the node behind s.
func (n *node) child(s segment) *node {
	if s.literal() {
		if n.literals == nil {
			n.literals = map[string]*node{}
		}
		if n.literals[s.prefix] == nil {
			n.literals[s.prefix] = &node{}
		}
		return n.literals[s.prefix]
	}
	for _, p := range n.parameters {
		if sameSegment(p.segment, s) {
			return p.next
		}
	}
	p := parameter{segment: s, next: &node{}}
	n.parameters = append(n.parameters, p)
	return p.next
}

// match appends to found every route whose template path fills. rest is what
// follows the slash of the next segment.
func (n *node) match(found []*route, rest string) []*route {
	segment, rest, more := strings.Cut(rest, "/")
	follow := func(next *node) {
		switch {
		case more:
			found = next.match(found, rest)
		case next.route != nil:
			found = append(found, next.route)
		}
	}
	if next := n.literals[segment]; next != nil {
		follow(next)
	}
	for _, p := range n.parameters {
		if p.matches(segment) {
			follow(p.next)
		}
	}
	return found
}

// resolve finds the routes that path may be taken for: literal segments beat
// parameters (OpenAPI 3.1, "Path Templating Matching"), and where that rule
// does not decide between templates, all of them. Nothing is decoded, cleaned
// or trimmed.
func (c *Catalog) resolve(path string) []*route {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil
	}
	var buffer [4]*route
	found := c.root.match(buffer[:0], rest)
	if len(found) <= 1 {
		return found
	}
	return mostSpecific(found)
}

// mostSpecific keeps the routes that no other one of them beats.
func mostSpecific(found []*route) []*route {
	var best []*route
	for _, r := range found {
		if !slices.ContainsFunc(found, func(o *route) bool { return o.beats(r.template) }) {
			best = append(best, r)
		}
	}
	return best
}

// beats reports whether t is the more concrete of two templates that match
// one path: a literal wherever u has one, and somewhere where u has none.
func (t template) beats(u template) bool {
	more := false
	for i, s := range t.segments {
		switch {
		case s.literal() && !u.segments[i].literal():
			more = true
		case !s.literal() && u.segments[i].literal():
			return false
		}
	}
	return more
}

// meeting appends to found every route that some path may match as well as
// these segments.
func (n *node) meeting(found []*route, segments []segment) []*route {
	if len(segments) == 0 {
		if n.route != nil {
			found = append(found, n.route)
		}
		return found
	}
	s, rest := segments[0], segments[1:]
	if s.literal() {
		if next := n.literals[s.prefix]; next != nil {
			found = next.meeting(found, rest)
		}
	} else {
		for text, next := range n.literals {
			if s.matches(text) {
				found = next.meeting(found, rest)
			}
		}
	}
	for _, p := range n.parameters {
		if p.meets(s) {
			found = p.next.meeting(found, rest)
		}
	}
	return found
}

// meeting lists the routes that some path may match as well as t, in the
// description's order.
func (c *Catalog) meeting(t template) []*route {
	found := c.root.meeting(nil, t.segments)
	slices.SortFunc(found, func(a, b *route) int { return a.index - b.index })
	return found
}

// Endpoints are those that a request needs a grant for, all of them. A path is
// resolved first, then the method: a route without the method makes it nil, so
// that `DELETE /orders/search` never falls back to `DELETE /orders/{n}`. Nil
// where the catalog has no such endpoint; a nil catalog has none.
func (c *Catalog) Endpoints(r Request) []*Endpoint {
	if c == nil || !r.oneHost() {
		return nil
	}
	var needed []*Endpoint
	for _, route := range c.resolve(r.Path) {
		e := route.methods[r.Method]
		if e == nil {
			return nil
		}
		needed = append(needed, e)
	}
	return needed
}

// Paths are the templates that a path resolves to, each with its methods: for
// telling people.
func (c *Catalog) Paths(path string) []string {
	var all []string
	for _, r := range c.resolve(path) {
		methods := slices.DeleteFunc(slices.Sorted(maps.Keys(r.methods)), func(m string) bool { return r.methods[m] == nil })
		all = append(all, fmt.Sprintf("%s, which has %s", r.text, orElse(strings.Join(methods, ", "), "no method that can be called")))
	}
	return all
}

// matches reports whether a path fills the template.
func (t template) matches(path string) bool {
	parts := strings.Split(path, "/")[1:]
	return len(parts) == len(t.segments) && slices.EqualFunc(t.segments, parts, segment.matches)
}
