package openapi

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"

	"github.com/postern/postern/authz"
)

// Contract is the description of an API of our own, which its requests are
// held against. It is immutable, and safe for concurrent use.
type Contract struct{ document *openapi3.T }

// NewContract reads an OpenAPI 3.0 document, which holds no reference to
// another.
func NewContract(data []byte) (*Contract, error) {
	document, err := openapi3.NewLoader().LoadFromData(data)
	if err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	if err := document.Validate(context.Background()); err != nil {
		return nil, fmt.Errorf("contract: %w", err)
	}
	return &Contract{document}, nil
}

// Operations are the methods and paths that it describes.
func (c *Contract) Operations() []string {
	var all []string
	for path, item := range c.document.Paths.Map() {
		for method := range item.Operations() {
			all = append(all, method+" "+path)
		}
	}
	slices.Sort(all)
	return all
}

// Findings are what is wrong with a request, by field.
type Findings struct {
	Shape  authz.Faults // no such member, no such parameter, or of another type
	Values authz.Faults // missing, or out of bounds
}

// Query checks a request's query parameters.
func (c *Contract) Query(method, path string, query map[string][]string) (f Findings) {
	parameters := c.operation(method, path).Parameters
	for name, values := range query {
		p := parameters.GetByInAndName("query", name)
		switch {
		case p == nil:
			f.Shape = append(f.Shape, authz.Fault{Field: name, Text: "there is no such parameter"})
		case len(values) > 1:
			f.Shape = append(f.Shape, authz.Fault{Field: name, Text: "it is given more than once"})
		default:
			f.add(name, p.Schema.Value.VisitJSON(typed(p.Schema.Value, values[0]), openapi3.MultiErrors()))
		}
	}
	return f
}

// typed is the text of a parameter as its schema takes it.
func typed(schema *openapi3.Schema, text string) any {
	if n, err := strconv.ParseFloat(text, 64); err == nil && schema.Type.Is("integer") {
		return n
	}
	return text
}

// Body checks a request's body, decoded as JSON.
func (c *Contract) Body(method, path string, body any) (f Findings) {
	schema := c.operation(method, path).RequestBody.Value.Content["application/json"].Schema.Value
	f.add("", schema.VisitJSON(body, openapi3.MultiErrors(), openapi3.EnableFormatValidation()))
	return f
}

// BodyRequired says whether an operation has a body, and must have one.
func (c *Contract) BodyRequired(method, path string) (has, must bool) {
	body := c.operation(method, path).RequestBody
	return body != nil, body != nil && body.Value.Required
}

// operation is one that the contract describes; of another the test of who
// calls this fails.
func (c *Contract) operation(method, path string) *openapi3.Operation {
	if item := c.document.Paths.Value(path); item != nil {
		if operation := item.GetOperation(method); operation != nil {
			return operation
		}
	}
	panic("the contract does not describe " + method + " " + path)
}

// add sorts what a schema found into shape and values.
func (f *Findings) add(field string, err error) {
	if err == nil {
		return
	}
	if all, ok := errors.AsType[openapi3.MultiError](err); ok {
		for _, err := range all {
			f.add(field, err)
		}
		return
	}
	found, ok := errors.AsType[*openapi3.SchemaError](err)
	if !ok {
		f.Shape = append(f.Shape, authz.Fault{Field: field, Text: "it is not as described"})
		return
	}
	fault := authz.Fault{Field: joined(field, found.JSONPointer()), Text: found.Reason}
	switch found.SchemaField {
	case "required":
		fault.Text = "it is missing"
	case "properties": // of one that is not there, the place is its parent's
		fault.Field, fault.Text = joined(fault.Field, unknownMember.FindStringSubmatch(found.Reason)[1:]), "there is no such member"
	case "format":
		fault.Text = "it is no time as RFC 3339 has it: write 2030-01-31T00:00:00Z"
	case "oneOf":
		fault.Text = "it has none of the forms that are described"
	}
	switch found.SchemaField {
	case "type", "properties", "nullable", "oneOf":
		f.Shape = append(f.Shape, fault)
	default:
		f.Values = append(f.Values, fault)
	}
}

// unknownMember finds the name in the library's reason. Where that is written
// otherwise, it finds nothing.
var unknownMember = regexp.MustCompile(`"(.*)"|$`)

// joined spells a place in a body as people do: permissions[0].id.
func joined(field string, pointer []string) string {
	for _, part := range pointer {
		switch _, err := strconv.Atoi(part); {
		case err == nil:
			field += "[" + part + "]"
		case part == "":
		case field == "":
			field = part
		default:
			field += "." + part
		}
	}
	return strings.TrimPrefix(field, ".")
}
