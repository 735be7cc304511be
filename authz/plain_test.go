package authz_test

import "strings"

// A second matcher, written from the rule of ARCHITECTURE.md and SECURITY.md
// word by word, slow, and with nothing of package authz.

// plainEndpoint is an endpoint of a catalog, or of a grant.
type plainEndpoint struct {
	method, path string
	chars        string // bytes that its parameters may hold beside the usual ones
}

const plainUsual = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"

// plainVerdict decides on a request. A nil grants is a legacy secret's.
func plainVerdict(catalog, grants []plainEndpoint, method, path, host string) string {
	if strings.Contains(host, ",") {
		return "not_catalogued"
	}
	needed := plainNeeded(catalog, method, path)
	if grants == nil {
		if plainMethod(method) && (len(needed) > 0 || plainWellFormed(path)) {
			return "unrestricted"
		}
		return "not_catalogued"
	}
	if len(needed) == 0 {
		return "not_catalogued"
	}
	for _, n := range needed {
		granted := false
		for _, g := range grants {
			granted = granted || g.method == n.method && nameless(g.path) == nameless(n.path)
		}
		if !granted {
			return "not_granted"
		}
	}
	return "granted"
}

// plainNeeded lists the endpoints that a request needs a grant for; none where
// one of its paths lacks the method.
func plainNeeded(catalog []plainEndpoint, method, path string) (needed []plainEndpoint) {
	for _, template := range plainTemplates(catalog, path) {
		found := false
		for _, e := range catalog {
			if e.method == method && e.path == template {
				needed, found = append(needed, e), true
			}
		}
		if !found {
			return nil
		}
	}
	return needed
}

// plainTemplates lists the templates that a path may be taken for.
func plainTemplates(catalog []plainEndpoint, path string) (all []string) {
	if !strings.HasPrefix(path, "/") {
		return nil
	}
	var filled []string
	for _, e := range catalog {
		if plainFills(e.path, e.chars, path) && !has(filled, e.path) {
			filled = append(filled, e.path)
		}
	}
	if len(filled) == 0 {
		return nil
	}
	for _, t := range filled {
		beaten := false
		for _, o := range filled {
			beaten = beaten || moreConcrete(o, t)
		}
		if !beaten {
			all = append(all, t)
		}
	}
	for _, e := range catalog {
		if !plainFills(e.path, e.chars, path) && !has(all, e.path) && plainMistaken(catalog, e, path) {
			all = append(all, e.path)
		}
	}
	return all
}

func has(list []string, s string) bool {
	for _, l := range list {
		if l == s {
			return true
		}
	}
	return false
}

func plainFills(template, chars, path string) bool {
	want, parts := strings.Split(template, "/"), strings.Split(path, "/")
	if len(want) != len(parts) {
		return false
	}
	for i := range want {
		if !plainFillsPart(want[i], chars, parts[i]) {
			return false
		}
	}
	return true
}

func plainFillsPart(want, chars, part string) bool {
	open, shut := strings.Index(want, "{"), strings.Index(want, "}")
	if open < 0 {
		return want == part
	}
	before, after := want[:open], want[shut+1:]
	if len(part) < len(before)+len(after)+1 || part[:len(before)] != before || part[len(part)-len(after):] != after {
		return false
	}
	value := part[len(before) : len(part)-len(after)]
	return len(value) <= 128 && value != strings.Repeat(".", len(value)) && onlyOf(value, plainUsual+chars)
}

func onlyOf(s, set string) bool {
	for i := 0; i < len(s); i++ {
		if strings.IndexByte(set, s[i]) < 0 {
			return false
		}
	}
	return true
}

// moreConcrete: literals wherever the other has one, and one more.
func moreConcrete(a, b string) bool {
	more := false
	as, bs := strings.Split(a, "/"), strings.Split(b, "/")
	for i := range as {
		la, lb := !strings.Contains(as[i], "{"), !strings.Contains(bs[i], "{")
		if lb && !la {
			return false
		}
		more = more || la && !lb
	}
	return more
}

// plainMistaken reports whether a server may take a path for a template that
// it does not fill: where a value of another template, of the same beginning,
// reads as this one's literal in lower case, without dots at its end, or
// without an extension.
func plainMistaken(catalog []plainEndpoint, e plainEndpoint, path string) bool {
	want, parts := strings.Split(e.path, "/"), strings.Split(path, "/")
	if len(want) != len(parts) {
		return false
	}
	for i := range want {
		if plainFillsPart(want[i], e.chars, parts[i]) {
			continue
		}
		value, literal := false, false
		for _, o := range catalog {
			other := strings.Split(o.path, "/")
			if len(other) <= i || nameless(strings.Join(other[:i], "/")) != nameless(strings.Join(want[:i], "/")) {
				continue
			}
			value = value || strings.Contains(other[i], "{") && plainFillsPart(other[i], o.chars, parts[i])
			literal = literal || other[i] == parts[i]
		}
		if !value || literal || !plainReadsAs(want[i], e.chars, parts[i]) {
			return false
		}
	}
	return true
}

func plainReadsAs(want, chars, part string) bool {
	lower := strings.ToLower(part)
	undotted := strings.TrimRight(lower, ".")
	stem := ""
	if i := strings.LastIndex(undotted, "."); i > 0 {
		stem = undotted[:i]
	}
	open, shut := strings.Index(want, "{"), strings.Index(want, "}")
	switch {
	case open < 0:
		want = strings.ToLower(want)
	case open == 0 && shut == len(want)-1:
		return false // what fills it, fills it
	default:
		want = strings.ToLower(want[:open]) + want[open:shut+1] + strings.ToLower(want[shut+1:])
	}
	for _, reading := range []string{lower, undotted, stem} {
		if reading != "" && plainFillsPart(want, chars, reading) {
			return true
		}
	}
	return false
}

// nameless is a template without its parameters' names.
func nameless(template string) string {
	parts := strings.Split(template, "/")
	for i, p := range parts {
		if open, shut := strings.Index(p, "{"), strings.Index(p, "}"); open >= 0 {
			parts[i] = p[:open] + "{}" + p[shut+1:]
		}
	}
	return strings.Join(parts, "/")
}

func plainMethod(method string) bool {
	return method != "" && onlyOf(method, "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
}

func plainWellFormed(path string) bool {
	parts := strings.Split(path, "/")
	if parts[0] != "" || len(parts) < 2 {
		return false
	}
	for i, p := range parts[1:] {
		last := i == len(parts)-2
		if p == "" && last {
			continue
		}
		if p == "" || len(p) > 128 || p == strings.Repeat(".", len(p)) || !onlyOf(p, plainUsual+":@") {
			return false
		}
	}
	return true
}
