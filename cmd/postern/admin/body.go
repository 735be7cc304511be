package admin

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/authz/openapi"
)

//go:embed assets/openapi.yaml
var contractText []byte

// readContract is the API's description: to check requests with, and to serve.
func readContract() (*openapi.Contract, []byte, error) {
	contract, err := openapi.NewContract(contractText)
	if err != nil {
		return nil, nil, err
	}
	var document map[string]any
	if err := yaml.Unmarshal(contractText, &document); err != nil {
		return nil, nil, fmt.Errorf("read the API's description: %w", err)
	}
	text, err := json.Marshal(document)
	return contract, text, err
}

// readBody reads a request's body into value, after it was checked against the
// API's description. values are what the description finds wrong with it that
// is no matter of form: the caller knows more about those.
func (s *server) readBody(r *http.Request, value any) (values authz.Faults, err error) {
	method, path, _ := strings.Cut(r.Pattern, " ")
	if findings := s.contract.Query(method, path, r.URL.Query()); len(findings.Shape)+len(findings.Values) > 0 {
		return nil, misshapen(append(findings.Shape, findings.Values...))
	}
	has, must := s.contract.BodyRequired(method, path)
	text, err := readAll(r)
	if err != nil {
		return nil, err
	}
	switch {
	case !has && len(text) > 0:
		return nil, badRequest{status: http.StatusBadRequest, detail: "This takes no body."}
	case !must && len(text) == 0:
		return nil, nil
	}
	if kind, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" || !isUTF8(parameters["charset"]) {
		return nil, badRequest{status: http.StatusUnsupportedMediaType, detail: "Send application/json."}
	}
	body, err := decode(text)
	if err != nil {
		return nil, badRequest{status: http.StatusBadRequest, detail: "The body is not the JSON that is wanted: " + err.Error() + "."}
	}
	findings := s.contract.Body(method, path, body)
	if len(findings.Shape) > 0 {
		return nil, misshapen(findings.Shape)
	}
	if err := json.Unmarshal(text, value); err != nil {
		if len(findings.Values) > 0 {
			return nil, findings.Values
		}
		return nil, badRequest{status: http.StatusBadRequest, detail: "The body is not as described."}
	}
	return findings.Values, nil
}

func isUTF8(charset string) bool { return charset == "" || strings.EqualFold(charset, "utf-8") }

func misshapen(faults authz.Faults) error {
	return badRequest{http.StatusBadRequest, "The request is not as /openapi.json describes it.", faults}
}

func readAll(r *http.Request) ([]byte, error) {
	text, err := io.ReadAll(r.Body)
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, badRequest{status: http.StatusRequestEntityTooLarge, detail: fmt.Sprintf("The body has more than %d bytes.", tooLarge.Limit)}
	}
	if err != nil {
		return nil, badRequest{status: http.StatusBadRequest, detail: "The body did not come whole."}
	}
	return text, nil
}

// maxDepth bounds values within values.
const maxDepth = 16

// decode reads exactly one JSON value. What readers could differ about is
// refused: a member that is there twice, and what is not UTF-8.
func decode(text []byte) (any, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("it is not UTF-8")
	}
	d := json.NewDecoder(bytes.NewReader(text))
	value, err := decodeValue(d, 0)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("something follows its end")
	}
	return value, nil
}

var errSyntax = errors.New("its syntax is wrong")

func decodeValue(d *json.Decoder, depth int) (any, error) {
	token, err := d.Token()
	switch {
	case err != nil:
		return nil, errSyntax
	case depth > maxDepth:
		return nil, fmt.Errorf("it is nested more than %d deep", maxDepth)
	}
	switch token {
	case json.Delim('{'):
		return decodeObject(d, depth)
	case json.Delim('['):
		return decodeArray(d, depth)
	}
	return token, nil
}

func decodeObject(d *json.Decoder, depth int) (any, error) {
	object := map[string]any{}
	for d.More() {
		name, err := d.Token()
		if err != nil {
			return nil, errSyntax
		}
		if _, twice := object[name.(string)]; twice {
			return nil, fmt.Errorf("it has a member twice")
		}
		if object[name.(string)], err = decodeValue(d, depth+1); err != nil {
			return nil, err
		}
	}
	return object, end(d)
}

func decodeArray(d *json.Decoder, depth int) (any, error) {
	array := []any{}
	for d.More() {
		value, err := decodeValue(d, depth+1)
		if err != nil {
			return nil, err
		}
		array = append(array, value)
	}
	return array, end(d)
}

// end reads the end of an object or array.
func end(d *json.Decoder) error {
	if _, err := d.Token(); err != nil {
		return errSyntax
	}
	return nil
}
