package authz

import (
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// The parts of a token of ours: prefix, 16 random bytes in base64url, and 36
// bits of a keyed check.
const (
	randomLen = 22
	checkLen  = 6
)

var base64Chars = newCharset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")

// Digest is what a token is stored and found by: HMAC-SHA-256, under the
// digest key, of the token's SHA-256.
type Digest [sha256.Size]byte

// ID names the secret: the first 16 bytes, in hex.
func (d Digest) ID() string { return hex.EncodeToString(d[:16]) }

// String is the whole digest in hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// Keyring holds the keys of one store. It is immutable, and safe for
// concurrent use. Its zero value can neither mint nor verify.
type Keyring struct {
	prefix string
	keys   []*key // the first one mints
}

// key is one 32-byte key and what is derived from it (RFC 5869), a key for
// each use.
type key struct {
	id                 string
	raw                []byte
	digest, check, mac *hmacPool
}

func newKey(raw []byte) (*key, error) {
	if len(raw) != 32 {
		return nil, fmt.Errorf("a key has %d bytes: want 32", len(raw))
	}
	var derived [4][]byte
	for i, label := range []string{"postern v1 id", "postern v1 digest", "postern v1 check", "postern v1 mac"} {
		bytes, err := hkdf.Key(sha256.New, raw, nil, label, sha256.Size)
		if err != nil {
			return nil, fmt.Errorf("derive key: %w", err)
		}
		derived[i] = bytes
	}
	return &key{
		id: hex.EncodeToString(derived[0][:4]), raw: raw,
		digest: newHMACPool(derived[1]), check: newHMACPool(derived[2]), mac: newHMACPool(derived[3]),
	}, nil
}

// hmacPool computes HMAC-SHA-256 under one key without setting the key up
// anew each time, and without allocating.
type hmacPool struct{ pool sync.Pool }

type hmacState struct {
	hash.Hash
	in, out [sha256.Size]byte // here, as what is given to an interface must be on the heap
}

func newHMACPool(key []byte) *hmacPool {
	p := &hmacPool{}
	p.pool.New = func() any { return &hmacState{Hash: hmac.New(sha256.New, key)} }
	return p
}

func (p *hmacPool) sum(data ...[]byte) [sha256.Size]byte {
	h := p.pool.Get().(*hmacState)
	defer p.pool.Put(h)
	return h.of(data...)
}

// sumOf is the same of data of one size.
func (p *hmacPool) sumOf(data [sha256.Size]byte) [sha256.Size]byte {
	h := p.pool.Get().(*hmacState)
	defer p.pool.Put(h)
	h.in = data
	return h.of(h.in[:])
}

func (h *hmacState) of(data ...[]byte) [sha256.Size]byte {
	h.Reset()
	for _, d := range data {
		h.Write(d)
	}
	h.Sum(h.out[:0])
	return h.out
}

// bytesOf is a text as bytes that nobody writes to, without a copy.
func bytesOf(text string) []byte { return unsafe.Slice(unsafe.StringData(text), len(text)) }

// Prefix stands before every token that the keyring mints.
func (k *Keyring) Prefix() string { return k.prefix }

// KeyIDs are the ids of the keys, the minting one first.
func (k *Keyring) KeyIDs() []string {
	ids := make([]string, len(k.keys))
	for i, key := range k.keys {
		ids[i] = key.id
	}
	return ids
}

// Mint makes a new token and its digest.
func (k *Keyring) Mint() (Token, Digest, error) {
	if len(k.keys) == 0 {
		return Token{}, Digest{}, errors.New("mint token: the keyring is empty")
	}
	var random [16]byte
	rand.Read(random[:])
	body := k.prefix + base64.RawURLEncoding.EncodeToString(random[:])
	check := k.keys[0].checkOf(body)
	text := body + string(check[:])
	t := newToken(text)
	return t, k.keys[0].digestOf(t), nil
}

// checkOf is the keyed check of what stands before it.
func (k *key) checkOf(body string) (check [checkLen]byte) {
	sum := k.check.sum(bytesOf(body))
	var text [8]byte
	base64.RawURLEncoding.Encode(text[:], sum[:6])
	return [checkLen]byte(text[:])
}

func (k *key) digestOf(t Token) Digest {
	sum := sha256.Sum256(bytesOf(t.Reveal()))
	return k.digestOfSum(sum)
}

func (k *key) digestOfSum(sum [sha256.Size]byte) Digest { return k.digest.sumOf(sum) }

// Lookup says under which digests a token may be stored.
type Lookup struct {
	Digest Digest   // under the key that minted the token; of one that was minted elsewhere, under the minting key
	Others []Digest // of one that was minted elsewhere, under the other keys

	// Minted tells that the token was minted under one of the keys: if the
	// store does not have it, the store has lost it.
	Minted bool
}

// ID is the id of the secret, where it was minted under one of the keys;
// otherwise "".
func (l Lookup) ID() string {
	if !l.Minted {
		return ""
	}
	return l.Digest.ID()
}

// All are all digests that the token may be stored under.
func (l Lookup) All() []Digest { return append([]Digest{l.Digest}, l.Others...) }

// Lookup verifies a token's check before anything else is asked. A token of
// our form with a wrong check is Unknown: mistyped, invented, or minted under
// a key that is not here. A token of another form was minted elsewhere, if
// anywhere.
func (k *Keyring) Lookup(t Token) (Lookup, Reason) {
	if len(k.keys) == 0 {
		return Lookup{}, Internal
	}
	if !k.Ours(t) {
		digests := k.ImportedDigests(sha256.Sum256(bytesOf(t.Reveal())))
		return Lookup{Digest: digests[0], Others: digests[1:]}, Undecided
	}
	text := t.Reveal()
	body, check := text[:len(text)-checkLen], text[len(text)-checkLen:]
	for _, key := range k.keys {
		if want := key.checkOf(body); subtle.ConstantTimeCompare(want[:], bytesOf(check)) == 1 {
			return Lookup{Digest: key.digestOf(t), Minted: true}, Undecided
		}
	}
	return Lookup{}, Unknown
}

// Ours reports whether a token has the form of those that the keyring mints.
// One that was minted elsewhere must not: it would never be looked up.
func (k *Keyring) Ours(t Token) bool {
	body, ok := strings.CutPrefix(t.Reveal(), k.prefix)
	return ok && len(body) == randomLen+checkLen && base64Chars.holds(body)
}

// ImportedDigests are the digests, under each key, of a token minted
// elsewhere; the minting key's first. sum is the token's SHA-256.
func (k *Keyring) ImportedDigests(sum [sha256.Size]byte) []Digest {
	digests := make([]Digest, len(k.keys))
	for i, key := range k.keys {
		digests[i] = key.digestOfSum(sum)
	}
	return digests
}

// Redact is what may be shown of a token of ours: the prefix, the first four
// characters of the random part, fourteen asterisks, the last four.
func (k *Keyring) Redact(t Token) string {
	body := strings.TrimPrefix(t.Reveal(), k.prefix)
	if len(body) != randomLen+checkLen {
		return Imported
	}
	return k.prefix + body[:4] + strings.Repeat("*", 14) + body[len(body)-4:]
}

// Imported is the redacted form of every token minted elsewhere.
const Imported = "imported"

// Seal is the MAC of a value under the minting key, bound to the name it is
// stored under. It holds the key's id.
func (k *Keyring) Seal(name string, value []byte) (string, error) {
	if len(k.keys) == 0 {
		return "", errors.New("seal value: the keyring is empty")
	}
	return k.keys[0].seal(name, value), nil
}

func (k *key) seal(name string, value []byte) string {
	sum := k.mac.sum([]byte(name), []byte{0}, value)
	return k.id + "." + base64.RawURLEncoding.EncodeToString(sum[:])
}

// Verify reports whether seal is the MAC of a value under this name and one of
// the keys, and which key's.
func (k *Keyring) Verify(name string, value []byte, seal string) (keyID string, ok bool) {
	id, _, _ := strings.Cut(seal, ".")
	i := slices.IndexFunc(k.keys, func(key *key) bool { return key.id == id })
	if i < 0 {
		return "", false
	}
	return id, hmac.Equal([]byte(k.keys[i].seal(name, value)), []byte(seal))
}
