package authz

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// node is a place in the tree of templates: what may follow the segments read
// so far.
type node struct {
	literals   map[string]*node
	folded     map[string][]*node // literals, in lower case; those that a value may be mistaken for
	parameters []parameter        // in the order added; the plain one too
	route      *route             // the template that ends here, or nil
}

type parameter struct {
	segment
	folded segment // the same with lower-case letters around it
	next   *node
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
			n.literals, n.folded = map[string]*node{}, map[string][]*node{}
		}
		if n.literals[s.prefix] == nil {
			next := &node{}
			n.literals[s.prefix] = next
			n.folded[strings.ToLower(s.prefix)] = append(n.folded[strings.ToLower(s.prefix)], next)
		}
		return n.literals[s.prefix]
	}
	for _, p := range n.parameters {
		if sameSegment(p.segment, s) {
			return p.next
		}
	}
	folded := segment{prefix: strings.ToLower(s.prefix), suffix: strings.ToLower(s.suffix), chars: s.chars}
	p := parameter{segment: s, folded: folded, next: &node{}}
	n.parameters = append(n.parameters, p)
	return p.next
}

// matches are the routes of one path.
type matches struct {
	exact []*route // whose template the path fills
	near  []*route // whose template some servers say it fills: those that fold case, or drop what trails
}

// match is m with every route that path may be taken for. rest is what follows
// the slash of the next segment; near tells that one before was only nearly
// right. (It takes and returns m so that what resolve makes need not be on the
// heap.)
func (n *node) match(m matches, rest string, near bool) matches {
	segment, rest, more := strings.Cut(rest, "/")
	follow := func(next *node, near bool) {
		switch {
		case more:
			m = next.match(m, rest, near)
		case next.route == nil:
		case near:
			m.near = append(m.near, next.route)
		default:
			m.exact = append(m.exact, next.route)
		}
	}
	next := n.literals[segment]
	if next != nil {
		follow(next, near)
	}
	value := false
	for _, p := range n.parameters {
		if p.matches(segment) {
			value = true
			follow(p.next, near)
		}
	}
	if value && next == nil { // a literal is what it is: its catalog tells it from its like
		n.mistaken(segment, func(next *node) { follow(next, true) })
	}
	return m
}

// mistaken calls follow for what a value may be mistaken for: a literal in
// other letters, or before an extension or dots at the end, and a parameter
// with such a literal around it.
func (n *node) mistaken(value string, follow func(*node)) {
	if len(n.literals) == 0 && len(n.parameters) == 1 {
		return
	}
	var buffer [maxValue]byte
	lower := append(buffer[:0], value...)
	for i, b := range lower {
		if 'A' <= b && b <= 'Z' {
			lower[i] = b + 'a' - 'A'
		}
	}
	undotted := bytes.TrimRight(lower, ".")
	stem := undotted[:max(0, bytes.LastIndexByte(undotted, '.'))]
	for _, reading := range [...][]byte{lower, undotted, stem} {
		if len(reading) == 0 {
			continue
		}
		for _, next := range n.folded[string(reading)] {
			follow(next)
		}
		for _, p := range n.parameters {
			if !p.plain() && !p.matches(value) && p.folded.matches(string(reading)) {
				follow(p.next)
			}
		}
	}
}

// resolve finds the routes that path may be taken for: literal segments beat
// parameters (OpenAPI 3.1, "Path Templating Matching"), and where that rule
// does not decide between templates, all of them; so too the routes that a
// server takes a value for which folds case, or drops an extension or dots at
// the end. Nothing is decoded, cleaned or trimmed to find a route. room is where
// they are put, if there is enough.
func (c *Catalog) resolve(room []*route, path string) []*route {
	rest, ok := strings.CutPrefix(path, "/")
	if !ok {
		return nil
	}
	m := c.root.match(matches{exact: room}, rest, false)
	if len(m.exact) > 1 {
		m.exact = mostSpecific(m.exact)
	}
	if len(m.exact) == 0 {
		return nil
	}
	return appendNew(m.exact, m.near...)
}

// mostSpecific are the routes that no other one of them beats. They are put
// behind found, where there is room.
func mostSpecific(found []*route) []*route {
	all := found
	for _, r := range found {
		if !slices.ContainsFunc(found, func(o *route) bool { return o.beats(r.template) }) {
			all = append(all, r)
		}
	}
	return all[len(found):]
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

// Resolve is the request with the endpoints that it needs a grant for, all of
// them. A path is resolved first, then the method: a route without the method
// makes them nil, so that `DELETE /orders/search` never falls back to `DELETE
// /orders/{n}`. Nil where the catalog has no such endpoint; a nil catalog has
// none.
func (c *Catalog) Resolve(r Request) Request {
	r.Endpoints = nil
	if c == nil || !r.oneHost() {
		return r
	}
	var room [4]*route
	routes := c.resolve(room[:0], r.Path)
	for _, route := range routes {
		e := route.methods[r.Method]
		switch {
		case e == nil:
			r.Endpoints = nil
			return r
		case len(routes) == 1:
			r.Endpoints = e.alone
		default:
			r.Endpoints = append(r.Endpoints, e)
		}
	}
	return r
}

// Paths are the templates that a path resolves to, each with its methods: for
// telling people.
func (c *Catalog) Paths(path string) []string {
	var all []string
	for _, r := range c.resolve(nil, path) {
		methods := slices.DeleteFunc(slices.Sorted(maps.Keys(r.methods)), func(m string) bool { return r.methods[m] == nil })
		all = append(all, fmt.Sprintf("%s, which has %s", r.text, cmp.Or(strings.Join(methods, ", "), "no method that can be called")))
	}
	return all
}

// matches reports whether a path fills the template.
func (t template) matches(path string) bool {
	parts := strings.Split(path, "/")[1:]
	return slices.EqualFunc(t.segments, parts, segment.matches)
}
