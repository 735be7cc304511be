// Package audit writes who did what, when, from where and with what result:
// one JSON line each, chained by hashes, on disk before what it tells is
// answered.
package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"
	"unicode/utf16"
)

// Results of what an entry tells. A write has two entries: one before it is
// tried, and one after.
const (
	Begun   = "begun"   // it is about to be tried; if no other entry follows, what became of it is not known
	Done    = "done"    // it was done
	Refused = "refused" // it was not done, by a rule
	Failed  = "failed"  // it was not done, or not wholly, by trouble
)

// Entry is what is told. It holds no text of a secret.
type Entry struct {
	Time     time.Time `json:"time"`
	Request  string    `json:"request"`            // id, as the answer and the log have it
	Who      string    `json:"who"`                // name of the token; "" of nobody known
	Role     string    `json:"role"`               // as it was then
	From     string    `json:"from"`               // address
	Action   string    `json:"action"`             // such as secret.create
	Merchant string    `json:"merchant,omitempty"` // whose
	Secret   string    `json:"secret,omitempty"`   // id
	Change   any       `json:"change,omitempty"`   // what was asked for
	Result   string    `json:"result"`
	Status   int       `json:"status,omitempty"` // of the answer
	Detail   string    `json:"detail,omitempty"`
}

// line is an entry in its place in the chain.
type line struct {
	Seq int64 `json:"seq"` // from 1
	Entry
	Prev string `json:"prev"` // hash of the line before, in hex
}

// Head is the end of a chain. Its zero value is that of an empty one.
type Head struct {
	Seq  int64
	Hash [sha256.Size]byte
}

// String is the head as operators keep it.
func (h Head) String() string { return fmt.Sprintf("%d %x", h.Seq, h.Hash) }

// parseHead reads what String wrote.
func parseHead(text string) (h Head, err error) {
	var hash []byte
	if _, err := fmt.Sscanf(text, "%d %x", &h.Seq, &hash); err != nil || len(hash) != len(h.Hash) || h.Seq < 0 {
		return Head{}, errors.New("it is no number and hash")
	}
	h.Hash = [sha256.Size]byte(hash)
	return h, nil
}

// hashMember begins the last member of a line, which is the hash of the line
// without it.
const hashMember = `,"hash":"`

// chain writes an entry as the line after h, and the head that it makes.
func (h Head) chain(e Entry) ([]byte, Head, error) {
	e.Time = e.Time.UTC()
	body, err := json.Marshal(line{h.Seq + 1, e, hex.EncodeToString(h.Hash[:])})
	if err != nil {
		return nil, h, fmt.Errorf("encode audit entry: %w", err)
	}
	body = ascii(body)
	next := Head{h.Seq + 1, sha256.Sum256(body)}
	text := append(body[:len(body)-1:len(body)-1], hashMember...)
	text = hex.AppendEncode(text, next.Hash[:])
	return append(text, "\"}\n"...), next, nil
}

// ascii spells the characters of JSON beyond printable ASCII out: some of them
// control a terminal.
func ascii(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for _, r := range string(text) {
		if r < 0x7f {
			out = append(out, byte(r))
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = fmt.Appendf(out, `\u%04x`, unit)
		}
	}
	return out
}

// follow checks that text, without its line feed, is the line after h, and
// returns the head that it makes. A chain may begin with any line.
func (h Head) follow(text []byte, first bool) (Head, error) {
	i := bytes.LastIndex(text, []byte(hashMember))
	if i < 0 {
		return h, errors.New("it is no line of an audit log")
	}
	body := append(append([]byte{}, text[:i]...), '}')
	var l line
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&l); err != nil {
		return h, errors.New("it is no line of an audit log")
	}
	next := Head{l.Seq, sha256.Sum256(body)}
	switch {
	case string(text[i+len(hashMember):]) != hex.EncodeToString(next.Hash[:])+`"}`:
		return h, errors.New("it was changed: its hash is another")
	case first:
		return next, nil
	case l.Seq != h.Seq+1:
		return h, fmt.Errorf("it has number %d, and the one before it has %d: lines were removed, added or moved", l.Seq, h.Seq)
	case l.Prev != hex.EncodeToString(h.Hash[:]):
		return h, errors.New("the one before it is not the one that was there when it was written")
	}
	return next, nil
}
