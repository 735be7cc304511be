package openapi

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/postern/postern/authz"
)

// document is a parsed document and what was found wrong with it so far. It
// holds no aliases, and each key of a mapping once.
type document struct {
	root       *yaml.Node
	problems   authz.Problems
	copies     int                           // values that aliases stood for
	indexes    map[*yaml.Node]map[string]int // where each key stands in a large mapping's Content
	refs       []*yaml.Node                  // what every $ref names
	extensions []*yaml.Node                  // every key that begins with x-postern
	read       map[*yaml.Node]bool           // those of them that stand where they belong
	parameters map[*yaml.Node]parameter      // read so far
	items      map[*yaml.Node]int            // path items read so far, and the lines of their paths
	nodes      map[string]*yaml.Node         // operations read so far, by method and path
}

// newDocument checks the whole tree, the parts that nothing else reads too. It
// fails where the rest is not worth reading.
func newDocument(root *yaml.Node) (*document, *authz.Problem) {
	d := &document{
		indexes:    map[*yaml.Node]map[string]int{},
		read:       map[*yaml.Node]bool{},
		parameters: map[*yaml.Node]parameter{},
		items:      map[*yaml.Node]int{},
		nodes:      map[string]*yaml.Node{},
	}
	d.root = d.expand(root, 0, false)
	if d.copies > maxCopies {
		return nil, &authz.Problem{
			Line:   root.Line,
			Text:   fmt.Sprintf("aliases stand for themselves, or for more than %d values", maxCopies),
			Remedy: "write the values out, or use $ref",
		}
	}
	return d, d.checkVersion()
}

func (d *document) problem(at *yaml.Node, text, remedy string) {
	d.report(authz.Problem{Line: at.Line, Text: text, Remedy: remedy})
}

func (d *document) report(p authz.Problem) {
	if len(d.problems) < maxProblems {
		d.problems = append(d.problems, p)
	}
}

// expand puts copies in the place of aliases, and checks each mapping.
func (d *document) expand(n *yaml.Node, depth int, aliased bool) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		n, aliased = n.Alias, true
	}
	if aliased {
		d.copies++
		duplicate := *n
		duplicate.Content = slices.Clone(n.Content)
		n = &duplicate
	}
	if depth > 2*maxDepth { // as an alias within what it stands for would go on for ever
		d.copies = maxCopies + 1
	}
	for i := range n.Content {
		if d.copies > maxCopies {
			return n
		}
		n.Content[i] = d.expand(n.Content[i], depth+1, aliased)
	}
	if n.Kind == yaml.MappingNode {
		d.checkKeys(n)
	}
	return n
}

// checkKeys refuses keys that stand twice, and keeps the first: readers of a
// document differ in which they take.
func (d *document) checkKeys(n *yaml.Node) {
	index := make(map[string]int, len(n.Content)/2)
	kept := n.Content[:0]
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		d.checkKey(key, value)
		if first, ok := index[key.Value]; ok {
			d.problem(key, fmt.Sprintf("key %q stands twice, first on line %d", key.Value, kept[first].Line), "keep one of the two")
			continue
		}
		index[key.Value] = len(kept)
		kept = append(kept, key, value)
	}
	n.Content = kept
	if len(index) > 16 {
		d.indexes[n] = index
	}
}

func (d *document) checkKey(key, value *yaml.Node) {
	switch {
	case key.Kind != yaml.ScalarNode || key.Style&yaml.TaggedStyle != 0:
		d.problem(key, "a key is not plain text", "write keys as JSON could")
	case key.Tag == "!!merge":
		d.problem(key, "<< merges keys, which OpenAPI's YAML does not know", "write the keys out")
	case key.Value == "$ref" && value.Kind == yaml.ScalarNode && !strings.HasPrefix(value.Value, "#"):
		d.problem(key, fmt.Sprintf("$ref %q leads out of the document, and nothing outside is read", value.Value), "bundle the document into one file")
	case key.Value == "$ref":
		d.refs = append(d.refs, value)
	case strings.HasPrefix(strings.ToLower(key.Value), "x-postern"):
		d.extensions = append(d.extensions, key)
	}
}

// entries are the keys of a mapping and their values, in order; of anything
// else, none.
func entries(n *yaml.Node) iter.Seq2[*yaml.Node, *yaml.Node] {
	return func(yield func(key, value *yaml.Node) bool) {
		if n == nil || n.Kind != yaml.MappingNode {
			return
		}
		for i := 0; i < len(n.Content); i += 2 {
			if !yield(n.Content[i], n.Content[i+1]) {
				return
			}
		}
	}
}

// field finds an entry of a mapping. Both are nil where there is none.
func (d *document) field(n *yaml.Node, name string) (key, value *yaml.Node) {
	if index, ok := d.indexes[n]; ok {
		if i, ok := index[name]; ok {
			return n.Content[i], n.Content[i+1]
		}
		return nil, nil
	}
	for key, value := range entries(n) {
		if key.Value == name {
			return key, value
		}
	}
	return nil, nil
}

// part is a mapping of some entries of n: what is worth decoding.
func (d *document) part(n *yaml.Node, names ...string) *yaml.Node {
	part := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map", Line: n.Line}
	for _, name := range names {
		if key, value := d.field(n, name); key != nil {
			part.Content = append(part.Content, key, value)
		}
	}
	return part
}

// decode decodes n into a type of the OpenAPI library, and reports whether it
// fits; what names n to the author.
func (d *document) decode(n *yaml.Node, what string, into any) bool {
	err := n.Decode(into)
	if err != nil {
		p := yamlProblem(err)
		p.Line = max(p.Line, n.Line)
		p.Text = what + ": " + p.Text
		p.Remedy = "write it as the OpenAPI Specification says"
		d.report(*p)
	}
	return err == nil
}
