package fields

import "slices"

// maxDepth bounds the nesting of a body, and so our recursion.
const maxDepth = 512

// remover reads a body once, from its first byte to its last, and copies it
// less the cuts.
type remover struct {
	scanner
	out  []byte
	done int // body[:done] is in out or cut
}

// want is a path that has led to the value being read, and goes on below it.
type want struct {
	path Path
	seen bool // the member it names next was read
}

// value reads a value inside depth objects and arrays. The next step of each
// of wants is path[depth].
func (r *remover) value(wants []want, depth int) error {
	c, start := r.peek(), r.at
	if c == '{' || c == '[' {
		return r.nested(wants, depth)
	}
	if !r.scalar(c) {
		return r.fail(ErrSyntax)
	}
	if len(wants) > 0 && c != 'n' {
		return &Error{Reason: ErrType, Path: wants[0].path, Offset: start}
	}
	return nil
}

// nested reads an object or an array, and cuts the entries (members or
// elements) at which a path ends. Each goes with the comma before it; where
// nothing before it is kept, with the comma after it.
func (r *remover) nested(wants []want, depth int) error {
	object, closing := r.body[r.at] == '{', r.body[r.at]+2 // as ASCII has {|} and [\]
	if err := r.enter(wants, depth, object); err != nil {
		return err
	}
	if r.take(closing) {
		return nil
	}
	before, kept, more := 0, false, true
	for index := 0; more; index++ {
		start := r.at
		inner, err := r.step(wants, depth, index, object)
		if err != nil {
			return err
		}
		gone := slices.ContainsFunc(inner, func(w want) bool { return len(w.path) == depth+1 })
		if gone {
			inner = nil
		}
		if err := r.value(inner, depth+1); err != nil {
			return err
		}
		end := r.at
		more = r.take(',')
		r.peek()
		switch {
		case !gone:
			kept = true
		case kept:
			r.cut(before, end)
		case more:
			r.cut(start, r.at)
		default:
			r.cut(start, end)
		}
		before = end
	}
	if !r.take(closing) {
		return r.fail(ErrSyntax)
	}
	return nil
}

// enter reads the bracket that opens an object or an array, if it may be
// opened: not too deep, and what each want goes on through.
func (r *remover) enter(wants []want, depth int, object bool) error {
	if depth == maxDepth {
		return r.fail(ErrDepth)
	}
	for _, w := range wants {
		if (w.path[depth].Kind == Member) != object {
			return &Error{Reason: ErrType, Path: w.path, Offset: r.at}
		}
	}
	r.at++
	return nil
}

// step reads up to the value of an entry and returns the wants that lead to
// it. They stand behind wants, in the room that begin made.
func (r *remover) step(wants []want, depth, index int, object bool) ([]want, error) {
	inner := wants[len(wants):]
	if object {
		return r.member(inner, wants, depth)
	}
	for _, w := range wants {
		if step := w.path[depth]; step.Kind == Elements || step.Index == index {
			inner = append(inner, want{path: w.path})
		}
	}
	return inner, nil
}

// member is step for a member: it reads the name and the colon.
func (r *remover) member(inner, wants []want, depth int) ([]want, error) {
	start := r.at
	raw, ok := r.text()
	if !ok || !r.take(':') {
		return nil, r.fail(ErrSyntax)
	}
	if len(wants) == 0 {
		return nil, nil
	}
	name, ok := r.unescape(raw)
	if !ok {
		return nil, &Error{Reason: ErrName, Path: wants[0].path, Offset: start}
	}
	for i := range wants {
		w := &wants[i]
		if w.path[depth].Name != string(name) {
			continue
		}
		if w.seen {
			return nil, &Error{Reason: ErrDuplicate, Path: w.path, Offset: start}
		}
		w.seen = true
		inner = append(inner, want{path: w.path})
	}
	return inner, nil
}

// cut leaves out body[from:to], which is behind all that was cut before.
func (r *remover) cut(from, to int) {
	if r.out == nil {
		r.out = make([]byte, 0, len(r.body))
	}
	r.out = append(r.out, r.body[r.done:from]...)
	r.done = to
}
