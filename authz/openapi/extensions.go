package openapi

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/postern/postern/authz"
)

// places says where each extension belongs.
var places = map[string]string{
	"x-postern-permission": "an operation under paths",
	"x-postern-grantable":  "an operation under paths",
	"x-postern-retired":    "an operation under paths",
	"x-postern-fields":     "an operation under paths",
	"x-postern-chars":      "a parameter that is in: path",
}

// extend reads the extensions of an operation.
func (d *document) extend(op *authz.Operation, n *yaml.Node) {
	op.Permission = d.text(n, "x-postern-permission")
	op.NotGrantable = !d.flag(n, "x-postern-grantable", true)
	op.Retired = d.flag(n, "x-postern-retired", false)
	key, groups := d.field(n, "x-postern-fields")
	if key == nil {
		return
	}
	d.read[key] = true
	if groups.Kind != yaml.MappingNode {
		d.problem(key, "x-postern-fields is no object", "write {GROUP: {label: TEXT, paths: [JSONPATH]}}")
	}
	for id, n := range entries(groups) {
		if group, ok := d.group(id, n); ok {
			op.Fields = append(op.Fields, group)
		}
	}
}

// group reads one field group of x-postern-fields, and reports whether it is
// sound.
func (d *document) group(id, n *yaml.Node) (authz.FieldGroup, bool) {
	before := len(d.problems)
	if n.Kind != yaml.MappingNode {
		d.problem(id, fmt.Sprintf("field group %q is no object", id.Value), "write {label: TEXT, paths: [JSONPATH]}")
	}
	g := authz.FieldGroup{ID: id.Value, Label: d.text(n, "label")}
	for key, value := range entries(n) {
		switch {
		case key.Value == "label":
		case key.Value == "paths" && value.Kind == yaml.SequenceNode:
			g.Paths = d.texts(value)
		case key.Value == "paths":
			d.problem(key, fmt.Sprintf("paths of field group %q is no list", id.Value), "write [JSONPATH, ...]")
		default:
			d.read[key] = true
			d.problem(key, fmt.Sprintf("field group %q has an unknown key %q", id.Value, key.Value), "it has label and paths, nothing else")
		}
	}
	return g, len(d.problems) == before
}

func (d *document) texts(list *yaml.Node) []string {
	var texts []string
	for _, n := range list.Content {
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!str" {
			d.problem(n, "a JSONPath is no text", "quote it")
			continue
		}
		texts = append(texts, n.Value)
	}
	return texts
}

// text reads an entry that is text and not empty, or returns "" where there is
// none.
func (d *document) text(n *yaml.Node, name string) string {
	key, value := d.field(n, name)
	if key == nil {
		return ""
	}
	d.read[key] = true
	if value.Kind != yaml.ScalarNode || value.ShortTag() != "!!str" || value.Value == "" {
		d.problem(key, name+" is no text, or empty", "write text, in quotes where it looks like something else")
		return ""
	}
	return value.Value
}

// flag reads an entry that is true or false, or returns otherwise where there
// is none.
func (d *document) flag(n *yaml.Node, name string, otherwise bool) bool {
	key, value := d.field(n, name)
	if key == nil {
		return otherwise
	}
	d.read[key] = true
	if value.Kind != yaml.ScalarNode || value.ShortTag() != "!!bool" || value.Value != "true" && value.Value != "false" {
		d.problem(key, name+" is neither true nor false", "write one of the two, without quotes")
	}
	return value.Value == "true"
}

// refuseUnread refuses every extension that nothing has read: it was meant to
// restrict something, and does not.
func (d *document) refuseUnread() {
	for _, key := range d.extensions {
		place, known := places[key.Value]
		switch {
		case d.read[key]:
		case known:
			d.problem(key, key.Value+" has no meaning here", "put it on "+place)
		default:
			d.problem(key, fmt.Sprintf("unknown extension %q", key.Value), "there are "+strings.Join(slices.Sorted(maps.Keys(places)), ", "))
		}
	}
}
