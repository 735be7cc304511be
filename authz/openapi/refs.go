package openapi

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// resolve follows each $ref from n to the object meant. Where there is none it
// reports so and returns nil; what names n to the author.
func (d *document) resolve(n *yaml.Node, what string) *yaml.Node {
	start := n
	for range maxRefs {
		if n.Kind != yaml.MappingNode {
			d.problem(n, what+" is no object", "write it as one, or leave it out")
			return nil
		}
		key, ref := d.field(n, "$ref")
		if key == nil {
			return n
		}
		if ref.Kind == yaml.ScalarNode && !strings.HasPrefix(ref.Value, "#") {
			return nil // checkKey has reported it
		}
		target := d.find(ref.Value)
		if target == nil {
			d.problem(key, fmt.Sprintf("%s: $ref %q names nothing in this document", what, ref.Value), "point it at an object, as #/components/parameters/NAME does")
			return nil
		}
		n = target
	}
	d.problem(start, fmt.Sprintf("%s: $ref leads back to itself, or over more than %d others", what, maxRefs), "point it at the object itself")
	return nil
}

// follow is resolve for what the catalog can do without: it reports nothing,
// and returns nil where there is no object.
func (d *document) follow(n *yaml.Node) *yaml.Node {
	for range maxRefs {
		if n == nil || n.Kind != yaml.MappingNode {
			return nil
		}
		key, ref := d.field(n, "$ref")
		if key == nil {
			return n
		}
		n = d.find(ref.Value)
	}
	return nil
}

var unescapeStep = strings.NewReplacer("~1", "/", "~0", "~")

// find follows a JSON pointer in a fragment (RFC 6901 section 6) and returns
// nil where it leads nowhere.
func (d *document) find(ref string) *yaml.Node {
	pointer, err := url.PathUnescape(strings.TrimPrefix(ref, "#"))
	if err != nil || !strings.HasPrefix(ref, "#/") {
		return nil
	}
	n := d.root
	for step := range strings.SplitSeq(pointer[1:], "/") {
		if n = d.step(n, unescapeStep.Replace(step)); n == nil {
			return nil
		}
	}
	return n
}

func (d *document) step(n *yaml.Node, name string) *yaml.Node {
	if n.Kind != yaml.SequenceNode {
		_, value := d.field(n, name)
		return value
	}
	i, err := strconv.Atoi(name)
	if err != nil || i < 0 || i >= len(n.Content) {
		return nil
	}
	return n.Content[i]
}
