package openapi

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"go.yaml.in/yaml/v4"

	"github.com/postern/postern/authz"
)

// Keys of a path item (OpenAPI 3.1.1, "Path Item Object").
var (
	methodKeys = []string{"get", "put", "post", "delete", "options", "head", "patch", "trace"}
	otherKeys  = []string{"$ref", "summary", "description", "servers", "parameters"}
)

// checkVersion refuses what is not OpenAPI 3.0 or 3.1.
func (d *document) checkVersion() *authz.Problem {
	refuse := func(at *yaml.Node, text string) *authz.Problem {
		return &authz.Problem{Line: at.Line, Text: text, Remedy: "write the document in OpenAPI 3.0 or 3.1"}
	}
	if d.root.Kind != yaml.MappingNode {
		return refuse(d.root, "the document is no object")
	}
	if key, version := d.field(d.root, "swagger"); key != nil {
		return refuse(key, fmt.Sprintf("the document is Swagger %s", version.Value))
	}
	key, version := d.field(d.root, "openapi")
	if key == nil {
		return refuse(d.root, "the document has no openapi field")
	}
	if !strings.HasPrefix(version.Value, "3.0.") && !strings.HasPrefix(version.Value, "3.1.") {
		return refuse(key, fmt.Sprintf("openapi is %q", version.Value))
	}
	return nil
}

// operations reads every operation under paths, in the document's order.
func (d *document) operations() []authz.Operation {
	var typed openapi3.T
	d.decode(d.part(d.root, "openapi", "servers"), "the document", &typed)
	_, servers := d.field(d.root, "servers")
	prefix := d.prefix(typed.Servers, servers, "")

	var all []authz.Operation
	key, paths := d.field(d.root, "paths")
	if key != nil && paths.Kind != yaml.MappingNode {
		d.problem(key, "paths is no object", "list the API's paths under it")
	}
	for key, value := range entries(paths) {
		switch {
		case strings.HasPrefix(key.Value, "/"):
			all = append(all, d.path(prefix, key, value)...)
		case !strings.HasPrefix(key.Value, "x-"):
			d.problem(key, fmt.Sprintf("path %q does not start with /", key.Value), "write the slash")
		}
	}
	d.components()
	return all
}

// components reads the shared objects that may hold extensions, also where no
// path uses them.
func (d *document) components() {
	_, components := d.field(d.root, "components")
	_, parameters := d.field(components, "parameters")
	for key, value := range entries(parameters) {
		d.parameter(value, "parameter "+key.Value)
	}
	_, items := d.field(components, "pathItems")
	for key, value := range entries(items) {
		if _, known := d.items[value]; !known && value.Kind == yaml.MappingNode {
			d.item(endpoint{path: key.Value}, value)
		}
	}
}

// endpoint is where an operation stands, as far as it is known.
type endpoint struct {
	prefix, path, method string
	chars                map[string]string // of its parameters
}

func (e endpoint) String() string { return e.method + " " + e.path }

// path reads the operations of one path.
func (d *document) path(prefix string, key, value *yaml.Node) []authz.Operation {
	item := d.resolve(value, "path "+key.Value)
	if item == nil {
		return nil
	}
	if item != value {
		d.refuseSiblings(key.Value, value)
	}
	if line, known := d.items[item]; known {
		d.problem(key, fmt.Sprintf("path %s is the path item of line %d again, with the same operationIds", key.Value, line), "write a path item for each path")
		return nil
	}
	d.items[item] = key.Line
	return d.item(endpoint{prefix: prefix, path: key.Value}, item)
}

// refuseSiblings refuses what OpenAPI calls undefined: operations, parameters
// or servers beside the $ref of a path item.
func (d *document) refuseSiblings(path string, item *yaml.Node) {
	for key := range entries(item) {
		if slices.Contains(methodKeys, key.Value) || key.Value == "parameters" || key.Value == "servers" {
			d.problem(key, fmt.Sprintf("path %s has both $ref and %s", path, key.Value), "move it into what $ref names")
		}
	}
}

// item reads the operations of a path item.
func (d *document) item(e endpoint, item *yaml.Node) []authz.Operation {
	var typed openapi3.PathItem
	d.decode(d.part(item, "servers"), "path "+e.path, &typed)
	_, servers := d.field(item, "servers")
	e.prefix = d.prefix(typed.Servers, servers, e.prefix)
	e.chars = d.chars(item, nil)

	var all []authz.Operation
	for key, value := range entries(item) {
		switch {
		case slices.Contains(methodKeys, key.Value):
			e.method = strings.ToUpper(key.Value)
			if op, ok := d.operation(e, key, value); ok {
				all = append(all, op)
			}
		case !slices.Contains(otherKeys, key.Value) && !strings.HasPrefix(key.Value, "x-"):
			d.problem(key, fmt.Sprintf("path %s has an unknown key %q", e.path, key.Value), "its methods are "+strings.Join(methodKeys, ", "))
		}
	}
	return all
}

func (d *document) operation(e endpoint, key, n *yaml.Node) (authz.Operation, bool) {
	if n.Kind != yaml.MappingNode {
		d.problem(key, fmt.Sprintf("%s is no object", e), "write it as one, or leave it out")
		return authz.Operation{}, false
	}
	var typed openapi3.Operation
	ok := d.decode(d.part(n, "operationId", "summary", "servers"), e.String(), &typed)
	if typed.Servers != nil {
		_, servers := d.field(n, "servers")
		e.prefix = d.prefix(*typed.Servers, servers, e.prefix)
	}
	op := authz.Operation{
		ID: typed.OperationID, Label: typed.Summary, Method: e.method, Path: e.prefix + e.path, Line: key.Line,
		Chars: d.chars(n, e.chars), Media: d.media(n),
	}
	d.extend(&op, n)
	d.nodes[op.Method+" "+op.Path] = n
	return op, ok
}

// parameter is what a catalog needs of one.
type parameter struct {
	in, name, chars string
}

// chars collects x-postern-chars of the path parameters that n declares; those
// it inherits and does not declare again stay.
func (d *document) chars(n *yaml.Node, inherited map[string]string) map[string]string {
	key, list := d.field(n, "parameters")
	if key == nil {
		return inherited
	}
	if list.Kind != yaml.SequenceNode {
		d.problem(key, "parameters is no list", "list the parameters under it")
		return inherited
	}
	chars := maps.Clone(inherited)
	for _, item := range list.Content {
		p := d.parameter(item, "a parameter")
		switch {
		case p.in != "path":
		case p.chars == "":
			delete(chars, p.name)
		default:
			if chars == nil {
				chars = map[string]string{}
			}
			chars[p.name] = p.chars
		}
	}
	return chars
}

// parameter reads a parameter, once. It is zero where there is none.
func (d *document) parameter(n *yaml.Node, what string) parameter {
	n = d.resolve(n, what)
	if n == nil {
		return parameter{}
	}
	p, known := d.parameters[n]
	if known {
		return p
	}
	var typed openapi3.Parameter
	d.decode(d.part(n, "name", "in"), what, &typed)
	p = parameter{in: typed.In, name: typed.Name}
	if p.in == "path" {
		p.chars = d.text(n, "x-postern-chars")
	}
	d.parameters[n] = p
	return p
}
