package fields_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/postern/postern/authz/fields"
)

// judge says what is wrong with what Remove made of body, as encoding/json
// reads both, or "".
func judge(body []byte, paths []fields.Path, got []byte, err error) string {
	want, wantErr, odd := rebuild(body, paths)
	switch {
	case wantErr != nil && err == nil:
		return fmt.Sprintf("it is %q, want it refused: %v", got, wantErr)
	case wantErr == nil && errors.Is(err, fields.ErrName) && odd:
		return ""
	case wantErr == nil && err != nil:
		return fmt.Sprintf("refused without cause: %v", err)
	case err != nil:
		return ""
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, got); err != nil {
		return fmt.Sprintf("it is %q, which is no JSON: %v", got, err)
	}
	if !bytes.Equal(compact.Bytes(), want) {
		return fmt.Sprintf("less whitespace it is %q, want %q", compact.Bytes(), want)
	}
	if want := deleted(decode(body), paths); !reflect.DeepEqual(decode(got), want) {
		return fmt.Sprintf("it reads as %v, want %v", decode(got), want)
	}
	if !subsequence(got, body) {
		return fmt.Sprintf("%q is not the body less some bytes", got)
	}
	return ""
}

// rebuild takes body apart by encoding/json where paths lead, and joins again
// what stays, less whitespace. The error is why the body must be refused; odd
// tells that it may be refused for its names.
func rebuild(body []byte, paths []fields.Path) (kept []byte, err error, odd bool) {
	var whole json.RawMessage
	if !utf8.Valid(body) || json.Unmarshal(body, &whole) != nil {
		return nil, fields.ErrSyntax, false
	}
	if nesting(body) > 512 {
		return nil, fields.ErrDepth, false
	}
	kept, err = rebuildValue(whole, paths, &odd)
	return kept, err, odd
}

func rebuildValue(value json.RawMessage, paths []fields.Path, odd *bool) ([]byte, error) {
	var out bytes.Buffer
	if len(paths) == 0 || string(value) == "null" {
		err := json.Compact(&out, value)
		return out.Bytes(), err
	}
	decoder := json.NewDecoder(bytes.NewReader(value))
	opening, _ := decoder.Token()
	isObject := opening == json.Delim('{')
	if !isObject && opening != json.Delim('[') {
		return nil, fields.ErrType
	}
	for _, path := range paths {
		if isObject != (path[0].Kind == fields.Member) {
			return nil, fields.ErrType
		}
	}
	read := map[string]bool{}
	var kept [][]byte
	for index := 0; decoder.More(); index++ {
		var name string
		var prefix []byte
		if isObject {
			before := decoder.InputOffset()
			token, _ := decoder.Token()
			name = token.(string)
			prefix = append(bytes.TrimLeft(value[before:decoder.InputOffset()], " \t\r\n,"), ':')
			if strings.ContainsRune(name, 0) {
				return nil, fields.ErrName
			}
			*odd = *odd || strings.ContainsRune(name, utf8.RuneError)
		}
		var entry json.RawMessage
		if err := decoder.Decode(&entry); err != nil {
			return nil, err
		}
		below, ends := follow(paths, name, index)
		if (len(below) > 0 || ends) && isObject && read[name] {
			return nil, fields.ErrDuplicate
		}
		read[name] = true
		if ends {
			continue
		}
		entry, err := rebuildValue(entry, below, odd)
		if err != nil {
			return nil, err
		}
		kept = append(kept, append(prefix, entry...))
	}
	brackets := "[]"
	if isObject {
		brackets = "{}"
	}
	return []byte(brackets[:1] + string(bytes.Join(kept, []byte(","))) + brackets[1:]), nil
}

// follow is what remains of paths below a member or element, and whether one
// ends there.
func follow(paths []fields.Path, name string, index int) (below []fields.Path, ends bool) {
	for _, path := range paths {
		step := path[0]
		if step.Kind == fields.Member && step.Name != name || step.Kind == fields.Element && step.Index != index {
			continue
		}
		if len(path) == 1 {
			ends = true
		} else {
			below = append(below, path[1:])
		}
	}
	return below, ends
}

// deleted is value, decoded, without what paths name.
func deleted(value any, paths []fields.Path) any {
	switch v := value.(type) {
	case map[string]any:
		for name, member := range v {
			below, ends := follow(paths, name, -1)
			if v[name] = deleted(member, below); ends {
				delete(v, name)
			}
		}
	case []any:
		kept := []any{}
		for index, element := range v {
			if below, ends := follow(paths, "", index); !ends {
				kept = append(kept, deleted(element, below))
			}
		}
		return kept
	}
	return value
}

func decode(body []byte) (value any) {
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	if err := decoder.Decode(&value); err != nil {
		return err
	}
	return value
}

func nesting(body []byte) int {
	depth, deepest := 0, 0
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	for {
		token, err := decoder.Token()
		if err != nil {
			return deepest
		}
		switch token {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		deepest = max(deepest, depth)
	}
}

func subsequence(part, whole []byte) bool {
	for _, c := range whole {
		if len(part) > 0 && part[0] == c {
			part = part[1:]
		}
	}
	return len(part) == 0
}

func FuzzRemove(f *testing.F) {
	f.Add([]byte(`{"response":{"order":{"price":"15.95","products":[{"price":29.0}]}}}`), "$.response.order.price")
	f.Add([]byte(`{"response":[{"quotes":[{"price":1e2},null]},{"quotes":null}],"count":9007199254740993}`), "$.response[*].quotes[*].price")
	f.Add([]byte(`{"\u0070rice":1,"a":{"\ud83d\ude00":[1 , 2,3]}, "b" : "\"\\"}`), "$.price $.a['😀'][1]")
	f.Add([]byte(`[[{"a":1,"a":2}],[{"\u0000":true}],-0.5e+1]`), "$[0][*].a $[1] $[1][0].b")
	f.Fuzz(func(t *testing.T, body []byte, texts string) {
		var paths []fields.Path
		for _, text := range strings.Fields(texts) {
			path, err := fields.Parse(text)
			if err != nil {
				return
			}
			paths = append(paths, path)
		}
		in := bytes.Clone(body)
		got, err := fields.Remove(in, paths)
		if complaint := judge(body, paths, got, err); complaint != "" {
			t.Errorf("Remove(%q, %s): %s", body, texts, complaint)
		}
		if !bytes.Equal(in, body) {
			t.Errorf("Remove(%q, %s) wrote to the body", body, texts)
		}
	})
}
