package openapi

import (
	"fmt"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/authz/fields"
)

// Bounds of the walk through one operation's schemas. What is beyond them is
// not looked at.
const (
	maxSchemas = 20_000
	maxNesting = 24
	maxNamed   = 8 // members that one message names
)

// Remarks are what an author should know of a document that loads: what its
// schemas say of answers. Nothing is decided by it.
type Remarks struct {
	Warnings []authz.Problem // what looks like a mistake
	Notes    []authz.Problem // what was decided, and how
}

// Lint reads the schemas of a document's answers for members that sound like
// what shipping costs: price, cost, fee, duty, tax, charge. What a $ref that
// leads nowhere was to name cannot be read, so it is warned of. It has nothing
// to say of a document that does not load.
func Lint(data []byte) Remarks {
	root, problem := parse(data)
	if problem != nil {
		return Remarks{}
	}
	d, problem := newDocument(root)
	if problem != nil {
		return Remarks{}
	}
	var r Remarks
	for _, op := range d.operations() {
		if !op.NotGrantable {
			d.remark(&r, op)
		}
	}
	for _, ref := range d.refs {
		if strings.HasPrefix(ref.Value, "#/") && d.find(ref.Value) == nil {
			r.Warnings = append(r.Warnings, authz.Problem{Line: ref.Line,
				Text:   fmt.Sprintf("$ref %q names nothing in this document, so what answers hold there cannot be seen", ref.Value),
				Remedy: "point it at an object, as #/components/schemas/NAME does"})
		}
	}
	return r
}

func (d *document) remark(r *Remarks, op authz.Operation) {
	n := d.nodes[op.Method+" "+op.Path]
	decided, _ := d.field(n, "x-postern-fields")
	named := d.priced(n, op.Fields)
	switch {
	case len(named) == 0:
	case decided == nil:
		r.Warnings = append(r.Warnings, authz.Problem{Line: op.Line,
			Text:   fmt.Sprintf("%s shows what sounds like cost to every secret that may call it, in %s", op.ID, listed(named)),
			Remedy: "name what is a cost of shipping under x-postern-fields; if none is (goods have a price too), x-postern-fields: {} says so"})
	case len(op.Fields) > 0:
		r.Notes = append(r.Notes, authz.Problem{Line: op.Line,
			Text:   fmt.Sprintf("%s shows %s to every secret that may call it", op.ID, listed(named)),
			Remedy: "right for what goods are worth; a cost of shipping belongs in a field group"})
	}
	if len(op.Fields) > 0 && len(op.Media) > 0 {
		r.Warnings = append(r.Warnings, authz.Problem{Line: op.Line,
			Text:   fmt.Sprintf("%s may answer with %s, which passes as it is, whatever is printed on it", op.ID, strings.Join(op.Media, ", ")),
			Remedy: "make sure that it shows nothing of the field groups, or leave the type out: then such an answer is withheld"})
	}
}

func listed(paths []string) string {
	if more := len(paths) - maxNamed; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(paths[:maxNamed], ", "), more)
	}
	return strings.Join(paths, ", ")
}

// priced lists the members of an operation's answers that sound like cost and
// that no group names.
func (d *document) priced(operation *yaml.Node, groups []authz.FieldGroup) []string {
	w := walk{document: d, within: map[*yaml.Node]bool{}}
	for _, g := range groups {
		for _, text := range g.Paths {
			if path, err := fields.Parse(text); err == nil {
				w.grouped = append(w.grouped, path)
			}
		}
	}
	for _, content := range d.contents(operation) {
		for media, value := range entries(content) {
			if !mayBeJSON(strings.ToLower(media.Value)) {
				continue
			}
			_, schema := d.field(d.follow(value), "schema")
			w.schema(schema, nil)
		}
	}
	return w.found
}

// mayBeJSON reports whether a type, or a range of types such as */*, covers
// JSON.
func mayBeJSON(media string) bool {
	return strings.Contains(media, "json") || media == "*/*" || media == "application/*"
}

// walk is a walk through the schemas of an operation's answers.
type walk struct {
	*document
	grouped []fields.Path
	within  map[*yaml.Node]bool // schemas that the walk is in: some hold themselves
	seen    int
	found   []string
}

func (w *walk) schema(n *yaml.Node, at fields.Path) {
	n = w.follow(n)
	if w.seen++; n == nil || w.within[n] || w.seen > maxSchemas || len(at) > maxNesting {
		return
	}
	w.within[n] = true
	defer delete(w.within, n)
	_, properties := w.field(n, "properties")
	for key, value := range entries(properties) {
		w.member(key.Value, value, append(slices.Clip(at), fields.Step{Kind: fields.Member, Name: key.Value}))
	}
	elements := append(slices.Clip(at), fields.Step{Kind: fields.Elements})
	for _, name := range []string{"items", "additionalProperties"} {
		_, value := w.field(n, name)
		w.schema(value, elements)
	}
	for _, name := range []string{"allOf", "oneOf", "anyOf"} {
		if _, list := w.field(n, name); list != nil && list.Kind == yaml.SequenceNode {
			for _, value := range list.Content {
				w.schema(value, at)
			}
		}
	}
}

func (w *walk) member(name string, schema *yaml.Node, at fields.Path) {
	switch {
	case slices.ContainsFunc(w.grouped, func(g fields.Path) bool { return len(g) <= len(at) && slices.Equal(g, at[:len(g)]) }):
	case soundsLikeCost(name) && !w.isFlag(schema):
		if text := at.String(); !slices.Contains(w.found, text) {
			w.found = append(w.found, text)
		}
	default:
		w.schema(schema, at)
	}
}

// isFlag reports whether a schema is of true and false, as of tax_included.
func (w *walk) isFlag(schema *yaml.Node) bool {
	_, kind := w.field(w.follow(schema), "type")
	return kind != nil && kind.Value == "boolean"
}

var (
	costWords = []string{"price", "prices", "cost", "costs", "fee", "fees", "duty", "duties", "tax", "taxes", "charge", "charges", "surcharge", "surcharges"}
	// labelWords make of the word before them something that is no sum: tax_id.
	labelWords = []string{"id", "ids", "number", "numbers", "code", "codes", "type", "types", "class"}
)

// soundsLikeCost goes by whole words: it takes shippingPrice and import_tax,
// and leaves priced_at, taxonomy and tax_id.
func soundsLikeCost(name string) bool {
	words := split(name)
	for i, word := range words {
		if slices.Contains(costWords, word) && !(i+1 < len(words) && slices.Contains(labelWords, words[i+1])) {
			return true
		}
	}
	return false
}

// split splits a name in snake_case, kebab-case or camelCase into its words, in
// lower case.
func split(name string) []string {
	runes := []rune(name)
	var words []string
	start := 0
	cut := func(end int) {
		if end > start {
			words = append(words, strings.ToLower(string(runes[start:end])))
		}
		start = end
	}
	for i, r := range runes {
		switch {
		case !unicode.IsLetter(r):
			cut(i)
			start = i + 1
		case i > 0 && unicode.IsUpper(r) && (!unicode.IsUpper(runes[i-1]) || i+1 < len(runes) && unicode.IsLower(runes[i+1])):
			cut(i)
		}
	}
	cut(len(runes))
	return words
}
