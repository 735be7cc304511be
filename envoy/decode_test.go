package envoy

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
)

// field is a field of a message, of the type that texts and messages have.
func field(number protowire.Number, parts ...[]byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), slices.Concat(parts...))
}

func textOf(number protowire.Number, value string) []byte { return field(number, []byte(value)) }

// entryOf is an entry of a map, or a HeaderValue.
func entryOf(key, value string, raw ...[]byte) []byte {
	return slices.Concat(textOf(entryKey, key), textOf(entryValue, value), slices.Concat(raw...))
}

// The parts of a check.
var (
	method  = textOf(httpMethod, "GET")
	path    = textOf(httpPath, "/a?b")
	host    = textOf(httpHost, "h")
	secret  = field(httpHeaders, entryOf("authorization", "Bearer abcdefghijklmnop"))
	other   = field(httpHeaders, entryOf("accept", "Bearer bcdefghijklmnopq"))
	rawOne  = field(httpHeaderMap, field(headerMapHeaders, entryOf("authorization", "", textOf(headerRaw, "Bearer cdefghijklmnopqr"))))
	both    = field(httpHeaderMap, field(headerMapHeaders, entryOf("authorization", "Bearer ghijklmnopqrstuv", textOf(headerRaw, "Bearer defghijklmnopqrs"))))
	plain   = field(httpHeaderMap, field(headerMapHeaders, entryOf("Authorization", "Bearer efghijklmnopqrst")), field(2, entryOf("authorization", "x")))
	empty   = field(httpHeaderMap, field(headerMapHeaders, entryOf("authorization", "Bearer fghijklmnopqrstu", textOf(headerRaw, ""))))
	filter  = field(attributesExtensions, entryOf(filterKey, filterVersion))
	another = field(attributesExtensions, entryOf("a", filterVersion))
	off     = field(attributesExtensions, entryOf(filterKey, "v0"))
	number  = protowire.AppendVarint(protowire.AppendTag(nil, httpMethod, protowire.VarintType), 7) // a method that is none
)

func attributesOf(parts ...[]byte) []byte { return field(checkAttributes, parts...) }

func requestOf(parts ...[]byte) []byte { return field(attributesRequest, parts...) }

func httpOf(parts ...[]byte) []byte { return field(requestHTTP, parts...) }

// Messages in every form that protobuf allows are read as protobuf reads them.
func TestDecodeForms(t *testing.T) {
	for name, data := range map[string][]byte{
		"nothing":                     nil,
		"empty messages":              attributesOf(requestOf(httpOf())),
		"all":                         attributesOf(requestOf(httpOf(method, path, host, secret)), filter),
		"another order":               attributesOf(filter, requestOf(httpOf(secret, host, path, method))),
		"other headers":               attributesOf(requestOf(httpOf(other, secret, other))),
		"other extensions":            attributesOf(another),
		"extension of another value":  attributesOf(off),
		"extension, then without":     attributesOf(filter, off),
		"extension, at last":          attributesOf(off, filter, another),
		"raw value":                   attributesOf(requestOf(httpOf(rawOne))),
		"raw value wins":              attributesOf(requestOf(httpOf(both))),
		"raw value is empty":          attributesOf(requestOf(httpOf(empty))),
		"no raw value":                attributesOf(requestOf(httpOf(plain))),
		"two credentials":             attributesOf(requestOf(httpOf(secret, rawOne))),
		"the same key twice":          attributesOf(requestOf(httpOf(secret, secret))),
		"key in two cases":            attributesOf(requestOf(httpOf(secret, field(httpHeaders, entryOf("Authorization", ""))))),
		"texts twice":                 attributesOf(requestOf(httpOf(method, path, host, textOf(httpMethod, "PUT"), textOf(httpPath, "/b"), textOf(httpHost, "")))),
		"key and value twice":         attributesOf(requestOf(httpOf(field(httpHeaders, entryOf("accept", "x"), entryOf("authorization", "Bearer abcdefghijklmnop"))))),
		"raw value twice":             attributesOf(requestOf(httpOf(field(httpHeaderMap, field(headerMapHeaders, entryOf("authorization", "", textOf(headerRaw, "x"), textOf(headerRaw, "Bearer cdefghijklmnopqr"))))))),
		"attributes twice":            slices.Concat(attributesOf(requestOf(httpOf(method)), filter), attributesOf(requestOf(httpOf(path, secret)))),
		"attributes twice, raw":       slices.Concat(attributesOf(requestOf(httpOf(method))), attributesOf(requestOf(httpOf(both)))),
		"attributes twice, raw none":  slices.Concat(attributesOf(requestOf(httpOf(method))), attributesOf(requestOf(httpOf(empty)))),
		"attributes twice, raw short": slices.Concat(attributesOf(requestOf(httpOf(method))), attributesOf(requestOf(httpOf(field(httpHeaderMap, field(headerMapHeaders, entryOf("authorization", "Bearer ghijklmnopqrstuv", textOf(headerRaw, "x")))))))),
		"request twice":               attributesOf(requestOf(httpOf(method)), requestOf(httpOf(path, secret))),
		"http twice":                  attributesOf(requestOf(httpOf(method), httpOf(path, secret))),
		"header map twice":            attributesOf(requestOf(httpOf(empty, plain))),
		"a number for a text":         attributesOf(requestOf(httpOf(method, number, path))),
		"a number beside":             slices.Concat(number, attributesOf(requestOf(httpOf(method)))),
		"a field that is not known":   attributesOf(textOf(99, "x"), requestOf(textOf(98, "y"), httpOf(textOf(97, "z"), method))),
	} {
		t.Run(name, func(t *testing.T) {
			checkParse(t, data, "192.0.2.1")
			for i := range data {
				if _, err := decodeCheck(data[:i]); i > 0 && !slices.Contains(ends(data), i) && err == nil {
					t.Errorf("decodeCheck of the first %d bytes of %q: no error", i, data)
				}
				for bit := range 8 {
					flipped := slices.Clone(data)
					flipped[i] ^= 1 << bit
					checkParse(t, flipped, "192.0.2.1")
				}
			}
		})
	}
}

// What is no message is an error, wherever it stands.
func TestDecodeRefuses(t *testing.T) {
	cut := []byte{0x80} // of a number
	for name, data := range map[string][]byte{
		"a text that is no UTF-8":      attributesOf(requestOf(httpOf(textOf(httpMethod, "\xff")))),
		"a name that is no UTF-8":      attributesOf(requestOf(httpOf(field(httpHeaders, entryOf("\xff", ""))))),
		"a value that is no UTF-8":     attributesOf(requestOf(httpOf(field(httpHeaders, entryOf("", "\xff"))))),
		"cut behind the attributes":    slices.Concat(attributesOf(), cut),
		"cut in the attributes":        attributesOf(cut),
		"cut in the request":           attributesOf(requestOf(cut)),
		"cut in the HTTP request":      attributesOf(requestOf(httpOf(cut))),
		"cut in the header map":        attributesOf(requestOf(httpOf(field(httpHeaderMap, cut)))),
		"cut in a header":              attributesOf(requestOf(httpOf(field(httpHeaders, cut)))),
		"cut in an extension":          attributesOf(field(attributesExtensions, cut)),
		"attributes twice, one is cut": slices.Concat(attributesOf(requestOf(httpOf(method))), attributesOf(field(99, nil), field(1, cut))),
	} {
		if _, err := decodeCheck(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// ends are where the fields of a message end.
func ends(data []byte) (all []int) {
	for at := 0; at < len(data); all = append(all, at) {
		_, _, n := protowire.ConsumeField(data[at:])
		at += n
	}
	return all
}
