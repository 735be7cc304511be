package openapi

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
	"go.yaml.in/yaml/v4/plugin/loaderlimits"

	"github.com/postern/postern/authz"
)

const (
	lineEnds = "\n\r\x85\xa8\xa9" // the last bytes of what ends a line in YAML 1.1
	tooBig   = "leave out what describes no endpoint, such as examples"
	oneDoc   = "name a file that holds one OpenAPI document, YAML or JSON"
)

// parse reads data into one tree of values with their lines. What is valid
// JSON is read as JSON, so that escapes mean what JSON says (a surrogate pair
// is no YAML); everything else is YAML.
func parse(data []byte) (*yaml.Node, *authz.Problem) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if p := cmp.Or(outOfBounds(data), notUTF8(data)); p != nil {
		return nil, p
	}
	if json.Valid(data) {
		return parseJSON(data)
	}
	return parseYAML(data)
}

// outOfBounds refuses, before anything is built from it, what would take too
// much to read.
func outOfBounds(data []byte) *authz.Problem {
	if len(data) > maxBytes {
		return &authz.Problem{Line: 1, Text: fmt.Sprintf("the document has %d bytes, more than %d", len(data), maxBytes), Remedy: tooBig}
	}
	marks, directives := 0, 0
	for i, b := range data {
		switch b {
		case ',', ':', '[', '{', '-', '?':
			marks++
		case '%':
			if i == 0 || strings.IndexByte(lineEnds, data[i-1]) >= 0 {
				directives++
			}
		}
	}
	if marks > maxMarks || directives > maxDirectives {
		return &authz.Problem{Line: 1, Text: fmt.Sprintf("the document may hold more than %d values or %d directives", 2*maxMarks, maxDirectives), Remedy: tooBig}
	}
	return nil
}

// notUTF8 refuses other encodings.
func notUTF8(data []byte) *authz.Problem {
	if utf8.Valid(data) {
		return nil
	}
	i := 0
	for r, size := rune(0), 0; r != utf8.RuneError || size != 1; i += size {
		r, size = utf8.DecodeRune(data[i:])
	}
	return &authz.Problem{Line: 1 + bytes.Count(data[:i], []byte("\n")), Text: "the document is not UTF-8", Remedy: "save it as UTF-8 text"}
}

func parseYAML(data []byte) (*yaml.Node, *authz.Problem) {
	limits := yaml.WithPlugin(loaderlimits.New(loaderlimits.DepthValue(maxDepth)))
	loader, err := yaml.NewLoader(bytes.NewReader(data), limits)
	if err != nil {
		return nil, yamlProblem(err)
	}
	var first, second yaml.Node
	if err := loader.Load(&first); err == io.EOF || err == nil && len(first.Content) == 0 {
		return nil, &authz.Problem{Line: 1, Text: "the document is empty", Remedy: oneDoc}
	} else if err != nil {
		return nil, yamlProblem(err)
	}
	switch err := loader.Load(&second); err {
	case io.EOF:
		return first.Content[0], nil
	case nil:
		return nil, &authz.Problem{Line: second.Line, Text: "a second document begins", Remedy: oneDoc}
	default:
		return nil, yamlProblem(err)
	}
}

func yamlProblem(err error) *authz.Problem {
	p := &authz.Problem{Line: 1, Text: err.Error(), Remedy: "correct the syntax"}
	if e, ok := errors.AsType[*yaml.LoadError](err); ok {
		p.Line, p.Text = max(e.Mark.Line, 1), e.Message
		if e.ContextMsg != "" {
			p.Text = e.ContextMsg + ": " + e.Message
		}
	}
	return p
}

// parseJSON reads data, which is valid JSON.
func parseJSON(data []byte) (*yaml.Node, *authz.Problem) {
	r := jsonReader{decoder: json.NewDecoder(bytes.NewReader(data)), data: data, line: 1}
	r.decoder.UseNumber()
	root, err := r.value(0)
	if err != nil {
		return nil, &authz.Problem{Line: r.line, Text: err.Error(), Remedy: "nest them less"}
	}
	return root, nil
}

// jsonReader makes nodes of JSON, with the lines that the decoder does not
// tell.
type jsonReader struct {
	decoder *json.Decoder
	data    []byte
	offset  int64
	line    int // at offset
}

func (r *jsonReader) value(depth int) (*yaml.Node, error) {
	token, err := r.decoder.Token()
	if err != nil {
		return nil, err
	}
	r.line += bytes.Count(r.data[r.offset:r.decoder.InputOffset()], []byte("\n"))
	r.offset = r.decoder.InputOffset()
	n := &yaml.Node{Kind: yaml.ScalarNode, Line: r.line}
	switch t := token.(type) {
	case json.Delim:
		return r.collection(n, t, depth)
	case string:
		n.Tag, n.Value = "!!str", t
	case json.Number:
		n.Tag, n.Value = "!!float", t.String()
	case bool:
		n.Tag, n.Value = "!!bool", fmt.Sprint(t)
	case nil:
		n.Tag, n.Value = "!!null", "null"
	}
	return n, nil
}

// collection reads what follows an opening bracket, into n.
func (r *jsonReader) collection(n *yaml.Node, open json.Delim, depth int) (*yaml.Node, error) {
	if depth == maxDepth {
		return nil, fmt.Errorf("values are nested more than %d deep", maxDepth)
	}
	n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
	if open == '{' {
		n.Kind, n.Tag = yaml.MappingNode, "!!map"
	}
	for r.decoder.More() {
		child, err := r.value(depth + 1)
		if err != nil {
			return nil, err
		}
		n.Content = append(n.Content, child)
	}
	_, err := r.decoder.Token()
	return n, err
}
