package fields_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"unicode/utf16"

	"github.com/postern/postern/authz/fields"
)

// tree is JSON that keeps order and duplicates: a scalar as it is spelled, or
// an object or an array.
type tree struct {
	scalar string // "" for an object or an array
	object bool
	kids   []entry
}

type entry struct {
	name  string // of an object's
	value *tree
}

func readTree(body string) *tree {
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.UseNumber()
	return readValue(decoder)
}

func readValue(decoder *json.Decoder) *tree {
	token, err := decoder.Token()
	if err != nil {
		panic(err) // our own constant
	}
	opening, ok := token.(json.Delim)
	if !ok {
		scalar, _ := json.Marshal(token)
		return &tree{scalar: string(scalar)}
	}
	t := &tree{object: opening == '{'}
	for decoder.More() {
		var name string
		if t.object {
			token, _ := decoder.Token()
			name = token.(string)
		}
		t.kids = append(t.kids, entry{name, readValue(decoder)})
	}
	decoder.Token()
	return t
}

// generator mutates answers, and spells them in one of the many ways that
// JSON has.
type generator struct{ *rand.Rand }

// one reports true once in n times.
func (g generator) one(n int) bool { return g.IntN(n) == 0 }

var (
	otherNames = []string{"Price", "pric", "prices", "ünï", "😀😀", "a\tb", "unit_price", "x\u2028", `\`, "price ", "toString", "0"}
	scalars    = []string{"null", "true", "false", `""`, `"0.0"`, "0", "-0", "9007199254740993", "1e400", "-12345678901234567890.10", "1E-7",
		`"}],{\""`, `"\u0000\ud800\/"`, `"価格 😀"`, `"price\":1,\"price"`, `"\\"`}
)

func (g generator) mutate(t *tree) {
	for i := range t.kids {
		kid := t.kids[i].value
		switch {
		case g.one(80):
			t.kids[i].value = g.junk(2)
		case kid.scalar == "" && g.one(60):
			t.kids[i].value = &tree{scalar: "null"}
		default:
			g.mutate(kid)
		}
	}
	if t.object && len(t.kids) > 0 && g.one(40) {
		g.insert(t, entry{t.kids[g.IntN(len(t.kids))].name, g.junk(1)}) // a duplicate
	}
	if t.object && g.one(5) {
		g.insert(t, entry{otherNames[g.IntN(len(otherNames))], g.junk(4)})
	}
	if !t.object && t.scalar == "" && g.one(8) {
		g.insert(t, entry{value: &tree{scalar: "null"}})
	}
	if g.one(3) {
		g.Shuffle(len(t.kids), func(i, j int) { t.kids[i], t.kids[j] = t.kids[j], t.kids[i] })
	}
}

func (g generator) insert(t *tree, e entry) {
	at := g.IntN(len(t.kids) + 1)
	t.kids = append(t.kids[:at:at], append([]entry{e}, t.kids[at:]...)...)
}

// junk is a value up to depth deep; now and then it is far deeper.
func (g generator) junk(depth int) *tree {
	if depth == 4 && g.one(20) {
		return g.deep(400 + g.IntN(250))
	}
	if depth == 0 || g.one(3) {
		return &tree{scalar: scalars[g.IntN(len(scalars))]}
	}
	t := &tree{object: g.one(2)}
	for range g.IntN(4) {
		t.kids = append(t.kids, entry{[]string{"price", "order", "response", "x"}[g.IntN(4)], g.junk(depth - 1)})
	}
	return t
}

func (g generator) deep(depth int) *tree {
	t := &tree{scalar: "1"}
	for range depth {
		t = &tree{object: g.one(2), kids: []entry{{"price", t}}}
	}
	return t
}

// mark puts cost wherever path leads, to each of duplicates too.
func (g generator) mark(t *tree, path fields.Path, cost string) {
	for i := range t.kids {
		e := &t.kids[i]
		below, ends := follow([]fields.Path{path}, e.name, i)
		if t.object != (path[0].Kind == fields.Member) {
			continue
		}
		if len(below) > 0 {
			g.mark(e.value, below[0], cost)
		}
		if ends {
			e.value = &tree{scalar: `"` + cost + `"`}
			if g.one(4) {
				e.value = &tree{object: true, kids: []entry{{"amount", e.value}, {"amount", e.value}}}
			}
		}
	}
}

// spell writes t. whole is false where bytes were broken after that, so that
// it need not be JSON, nor have the names it had.
func (g generator) spell(t *tree) (body []byte, whole bool) {
	var out bytes.Buffer
	g.write(&out, t, g.IntN(3))
	body = out.Bytes()
	if !g.one(6) {
		return body, true
	}
	at := g.IntN(len(body))
	switch g.IntN(5) {
	case 0:
		body[at] = byte(g.Uint32())
	case 1:
		body = body[:at]
	case 2:
		body = append(body[:at:at], body[at+1:]...)
	case 3:
		body = append(body, body[at:]...)
	case 4:
		const bytes = "\"\\{}[],:0-.eu\x00\xff "
		body[at] = bytes[g.IntN(len(bytes))]
	}
	return body, false
}

// write spells t with as much whitespace as space says: none, some, much.
func (g generator) write(out *bytes.Buffer, t *tree, space int) {
	gap := func() {
		for space > 0 && g.one(4-space) {
			out.WriteByte(" \n\r\t"[g.IntN(4)])
		}
	}
	gap()
	defer gap()
	if t.scalar != "" {
		out.WriteString(t.scalar)
		return
	}
	brackets := "[]"
	if t.object {
		brackets = "{}"
	}
	out.WriteByte(brackets[0])
	for i, e := range t.kids {
		if i > 0 {
			out.WriteByte(',')
		}
		gap()
		if t.object {
			g.writeName(out, e.name)
			gap()
			out.WriteByte(':')
		}
		g.write(out, e.value, space)
	}
	gap()
	out.WriteByte(brackets[1])
}

// writeName spells name raw, or with escapes, all or some; now and then with
// what makes it unreadable.
func (g generator) writeName(out *bytes.Buffer, name string) {
	rare := []int{1, 3, 50}[g.IntN(3)]
	out.WriteByte('"')
	for _, r := range name {
		switch high, low := utf16.EncodeRune(r); {
		case !g.one(rare) && r >= ' ' && r != '"' && r != '\\':
			out.WriteRune(r)
		case high != '\uFFFD':
			fmt.Fprintf(out, `\u%04x\u%04X`, high, low)
		case r == '/' && g.one(2):
			out.WriteString(`\/`)
		default:
			fmt.Fprintf(out, []string{`\u%04x`, `\u%04X`}[g.IntN(2)], r)
		}
	}
	if g.one(1000) {
		out.WriteString([]string{`\u0000`, `\ud83d`, `\uDE00`, `\u0000x`}[g.IntN(4)])
	}
	out.WriteByte('"')
}
