package authz

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/postern/postern/authz/fields"
)

// Operation is one operation of an API description, as its loader found it.
type Operation struct {
	ID     string // operationId. Required, unique.
	Label  string // summary; "" means the ID
	Method string // GET, POST, …
	Path   string // the whole template, with the server's path before it
	Line   int    // where the description declares it, from 1

	Permission   string            // x-postern-permission; "" means the ID
	NotGrantable bool              // x-postern-grantable: false, an outbound callback: no endpoint of ours, but its path is taken
	Retired      bool              // x-postern-retired: matched for older secrets, no longer grantable
	Chars        map[string]string // x-postern-chars, by parameter: bytes that its values may hold beside the usual ones
	Fields       []FieldGroup      // x-postern-fields
	Media        []string          // types of successful answers that are no data, such as application/pdf: nothing is removed from these
}

// FieldGroup is data inside an answer that a permission leaves out unless the
// secret asks for it.
type FieldGroup struct {
	ID    string
	Label string
	Paths []string // JSONPath (RFC 9535): names, indexes and [*]
}

// Permission is what a merchant ticks.
type Permission struct {
	ID        string
	Label     string
	Endpoints []*Endpoint  // in the description's order
	Fields    []FieldGroup // of all its endpoints; Paths are those of all
	Retired   bool         // no endpoint of it can be granted any more
}

// Endpoint is a method and a path template of the catalog.
type Endpoint struct {
	Method     string
	Path       string // as the description writes it
	Permission string
	Operation  string
	Retired    bool
	Fields     []FieldGroup
	Media      []string          // as in Operation
	Chars      map[string]string // x-postern-chars, by parameter

	key       string      // method and template without names: what a grant is looked up by
	alone     []*Endpoint // this one: what nearly every request resolves to
	signature string      // the same with what Chars widens
}

// String is the endpoint as grants spell it: `GET /orders/{tracking_number}`.
func (e *Endpoint) String() string { return e.Method + " " + e.Path }

// Is reports whether text spells the same endpoint, whatever its parameters'
// names are.
func (e *Endpoint) Is(text string) bool { return templateKey(text) == e.key }

// Catalog is a compiled API description. It is immutable, and safe for
// concurrent use. Its zero value holds no endpoint.
type Catalog struct {
	Permissions []Permission // in the description's order, retired ones too

	hash   string
	root   node
	routes []*route // in the description's order
}

// route is one template of the catalog and what may be done there.
type route struct {
	template
	index   int // in routes
	line    int
	methods map[string]*Endpoint // nil for an operation that is not grantable
}

// Hash names what the catalog decides: equal hashes decide alike.
func (c *Catalog) Hash() string { return c.hash }

// Permission finds a permission by its id, or returns nil.
func (c *Catalog) Permission(id string) *Permission {
	i := slices.IndexFunc(c.Permissions, func(p Permission) bool { return p.ID == id })
	if i < 0 {
		return nil
	}
	return &c.Permissions[i]
}

// All lists every endpoint, retired ones too, in the description's order.
func (c *Catalog) All() []*Endpoint {
	var all []*Endpoint
	for _, p := range c.Permissions {
		all = append(all, p.Endpoints...)
	}
	return all
}

// Compile checks the operations of an API description and compiles them.
// Problems that refuse the catalog are all reported in one [Problems] error,
// with their lines and remedies; Lint tells the rest.
func Compile(operations []Operation) (*Catalog, error) {
	b := builder{
		catalog:     &Catalog{},
		routes:      map[string]*route{},
		permissions: map[string]int{},
		operations:  map[string]int{},
	}
	for _, op := range operations {
		b.add(op)
	}
	if len(operations) == 0 {
		b.problem(1, "the description has no operations", "name the OpenAPI document that lists the API's paths")
	}
	if len(b.problems) > 0 {
		return nil, b.problems
	}
	return b.finish(), nil
}

// builder is a catalog in the making.
type builder struct {
	catalog     *Catalog
	routes      map[string]*route // by template without names
	permissions map[string]int    // index in catalog.Permissions
	operations  map[string]int    // line of each operation id
	problems    Problems
}

func (b *builder) problem(line int, text, remedy string) {
	b.problems = append(b.problems, Problem{Line: line, Text: text, Remedy: remedy})
}

func (b *builder) add(op Operation) {
	if !b.checkID(op) {
		return
	}
	groups, ok := b.checkFields(op)
	r := b.route(op)
	if r == nil || !ok {
		return
	}
	if _, taken := r.methods[op.Method]; taken {
		b.problem(op.Line, fmt.Sprintf("%s %s is declared twice", op.Method, op.Path), "keep one of the two")
		return
	}
	if op.NotGrantable {
		r.methods[op.Method] = nil
		return
	}
	e := &Endpoint{
		Method: op.Method, Path: op.Path, Operation: op.ID, Retired: op.Retired, Fields: groups, Media: op.Media,
		Permission: cmp.Or(op.Permission, op.ID), Chars: op.Chars,
		key: op.Method + " " + r.key, signature: op.Method + " " + r.signature(),
	}
	e.alone = []*Endpoint{e}
	r.methods[op.Method] = e
	b.permit(e, plainText(op.Label))
}

func (b *builder) checkID(op Operation) bool {
	switch line, known := b.operations[op.ID]; {
	case op.ID == "":
		b.problem(op.Line, fmt.Sprintf("%s %s has no operationId", op.Method, op.Path), "give it one: it names the permission")
	case !isName(op.ID) || op.Permission != "" && !isName(op.Permission):
		b.problem(op.Line, fmt.Sprintf("%s %s: %q is no permission id", op.Method, op.Path, cmp.Or(op.Permission, op.ID)),
			"use 1 to 128 of A-Z a-z 0-9 . _ ~ - / : and no other byte")
	case known:
		b.problem(op.Line, fmt.Sprintf("operationId %q is already used on line %d", op.ID, line), "give each operation its own")
	default:
		b.operations[op.ID] = op.Line
		return true
	}
	return false
}

// isName reports whether s may stand in a scope (RFC 6749 section 3.3), on a
// command line before a `+`, and in metadata.
func isName(s string) bool {
	return len(s) >= 1 && len(s) <= maxValue && nameChars.holds(s)
}

// checkFields puts the JSONPaths of an operation's field groups into one
// spelling, so that equal paths are equal strings.
func (b *builder) checkFields(op Operation) ([]FieldGroup, bool) {
	var groups []FieldGroup
	before := len(b.problems)
	for _, g := range op.Fields {
		if !isName(g.ID) || slices.ContainsFunc(groups, func(o FieldGroup) bool { return o.ID == g.ID }) {
			b.problem(op.Line, fmt.Sprintf("%s: field group %q is no plain name, or stands twice", op.ID, g.ID), "name each group once: shipping_price")
		}
		if len(g.Paths) == 0 {
			b.problem(op.Line, fmt.Sprintf("%s: field group %q has no paths", op.ID, g.ID), "list what it holds: paths: [$.response.price]")
		}
		clean := FieldGroup{ID: g.ID, Label: cmp.Or(plainText(g.Label), g.ID)}
		for _, text := range g.Paths {
			canonical, err := fields.Parse(text)
			if err != nil {
				b.problem(op.Line, fmt.Sprintf("%s: field group %q: %v", op.ID, g.ID, err), "only names, indexes and [*] may be used: $.response.order.price")
			}
			clean.Paths = append(clean.Paths, canonical.String())
		}
		groups = append(groups, clean)
	}
	return groups, len(b.problems) == before
}

// route finds or makes the route of an operation. A template that differs only
// in its parameters' names is the same path, so it is refused (OpenAPI says
// so too: "identical").
func (b *builder) route(op Operation) *route {
	t, err := parseTemplate(op.Path, op.Chars)
	if err != nil {
		b.problem(op.Line, err.Error(), "write the path as / and segments, each a literal or one {parameter}")
		return nil
	}
	r, ok := b.routes[t.key]
	switch {
	case !ok:
		r = &route{template: t, index: len(b.routes), line: op.Line, methods: map[string]*Endpoint{}}
		b.routes[t.key] = r
		b.catalog.routes = append(b.catalog.routes, r)
	case r.text != t.text:
		b.problem(op.Line, fmt.Sprintf("%s is the path %s of line %d under other parameter names", t.text, r.text, r.line),
			"use one name, and declare both operations under one path")
		return nil
	case !slices.EqualFunc(r.segments, t.segments, sameSegment):
		b.problem(op.Line, fmt.Sprintf("%s: its parameters have other x-postern-chars than on line %d", t.text, r.line),
			"declare the parameter once, on the path")
		return nil
	}
	return r
}

func sameSegment(a, b segment) bool {
	if a.literal() || b.literal() {
		return a == b
	}
	return a.prefix == b.prefix && a.suffix == b.suffix && *a.chars == *b.chars
}

// permit adds an endpoint to its permission.
func (b *builder) permit(e *Endpoint, label string) {
	i, ok := b.permissions[e.Permission]
	if !ok {
		i = len(b.catalog.Permissions)
		b.permissions[e.Permission] = i
		b.catalog.Permissions = append(b.catalog.Permissions, Permission{ID: e.Permission, Label: cmp.Or(label, e.Operation), Retired: true})
	}
	p := &b.catalog.Permissions[i]
	p.Endpoints = append(p.Endpoints, e)
	p.Retired = p.Retired && e.Retired
	if e.Operation == e.Permission {
		p.Label = cmp.Or(label, e.Operation)
	}
	for _, g := range e.Fields {
		j := slices.IndexFunc(p.Fields, func(o FieldGroup) bool { return o.ID == g.ID })
		if j < 0 {
			p.Fields = append(p.Fields, FieldGroup{ID: g.ID, Label: g.Label, Paths: slices.Clone(g.Paths)})
		} else {
			p.Fields[j].Paths = append(p.Fields[j].Paths, g.Paths...)
		}
	}
}

func (b *builder) finish() *Catalog {
	text := sha256.New()
	for _, r := range b.catalog.routes {
		b.catalog.root.add(r)
		fmt.Fprintln(text, r.signature())
	}
	for _, e := range b.catalog.All() {
		fmt.Fprintln(text, e.signature, e.Permission, e.Retired, e.Fields, e.Media)
	}
	b.catalog.hash = hex.EncodeToString(text.Sum(nil)[:8])
	return b.catalog
}

// plainText is a label on one line, without what could hide or reorder it.
func plainText(label string) string {
	return strings.Join(strings.FieldsFunc(label, func(r rune) bool { return unicode.IsSpace(r) || misleads(r) }), " ")
}
