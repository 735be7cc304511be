package fields

import (
	"errors"
	"fmt"
	"unicode/utf8"
)

// What a body that cannot be filtered has, for [errors.Is]. Each comes inside
// an [Error], which says where.
var (
	ErrSyntax    = errors.New("what stands here is not JSON (RFC 8259)")
	ErrDepth     = fmt.Errorf("objects and arrays are nested more than %d deep", maxDepth)
	ErrType      = errors.New("a path goes on through a value that is neither null nor of the kind it names")
	ErrDuplicate = errors.New("a member that a path names occurs twice")
	ErrName      = errors.New("a name beside one that a path names holds NUL or half a surrogate pair, which parsers read differently")
	ErrPath      = errors.New("a path is not one that Parse makes")
)

// Error is why a body cannot be filtered. It holds nothing of the body, so it
// may be logged.
type Error struct {
	Reason error // one of the above
	Path   Path  // that met it; nil where none is to blame
	Offset int   // of the byte where it shows, from 0
}

func (e *Error) Error() string {
	if e.Path == nil {
		return fmt.Sprintf("remove fields: at byte %d: %v", e.Offset, e.Reason)
	}
	return fmt.Sprintf("remove fields: at byte %d, on path %v: %v", e.Offset, e.Path, e.Reason)
}

// Unwrap is the reason.
func (e *Error) Unwrap() error { return e.Reason }

// Remove returns body without the members and elements at which paths end,
// each less one comma too. All else is kept byte for byte: order, numbers,
// escapes, whitespace. Where nothing matches the result is body itself;
// otherwise it is new memory, of len(body) at most. body is never written to.
//
// A path that leads to an absent value, or through null, removes nothing.
// What might be read in two ways is refused whole with an [*Error]: a body
// that is not strict JSON to its last byte, a duplicate of a member that a
// path names, a value that a path cannot go on through.
func Remove(body []byte, paths []Path) ([]byte, error) {
	wants, err := begin(paths)
	if err != nil {
		return nil, err
	}
	r := remover{scanner: scanner{body: body}}
	if !utf8.Valid(body) {
		return nil, &Error{Reason: ErrSyntax, Offset: invalidUTF8(body)}
	}
	if err := r.value(wants, 0); err != nil {
		return nil, err
	}
	if r.peek(); r.at < len(body) {
		return nil, r.fail(ErrSyntax)
	}
	if r.done == 0 {
		return body, nil
	}
	return append(r.out, body[r.done:]...), nil
}

// begin wants all paths, with room behind them for what they want below.
func begin(paths []Path) ([]want, error) {
	room := 0
	for _, path := range paths {
		if !path.valid() {
			return nil, &Error{Reason: ErrPath, Path: path}
		}
		room += 1 + len(path)
	}
	wants := make([]want, 0, room)
	for _, path := range paths {
		wants = append(wants, want{path: path})
	}
	return wants, nil
}

// valid reports whether the path selects something below the root: one made
// by hand might not.
func (p Path) valid() bool {
	for _, step := range p {
		if step.Kind < Member || step.Kind > Elements || step.Index < 0 {
			return false
		}
	}
	return len(p) > 0
}

func invalidUTF8(body []byte) int {
	at := 0
	for at < len(body) {
		r, size := utf8.DecodeRune(body[at:])
		if r == utf8.RuneError && size == 1 {
			break
		}
		at += size
	}
	return at
}
