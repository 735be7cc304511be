package store

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"runtime"
	"sync"
	"weak"

	"github.com/postern/postern/authz"
)

// grants are those of a record. Records that hold the same text share one
// index: ten grants cost more than all else that is kept of a secret, and most
// merchants pick from a few sets.
type grants struct{ index *authz.GrantIndex }

// shared has the indexes in use, by the SHA-256 of their text.
var shared struct {
	sync.Mutex // guards what follows
	indexes    map[[sha256.Size]byte]weak.Pointer[authz.GrantIndex]
}

// MarshalJSON implements json.Marshaler.
func (g *grants) MarshalJSON() ([]byte, error) { return json.Marshal(g.index.Grants()) }

// UnmarshalJSON implements json.Unmarshaler. What is not known is refused, as
// in the rest of a record.
func (g *grants) UnmarshalJSON(text []byte) error {
	key := sha256.Sum256(text)
	shared.Lock()
	g.index = shared.indexes[key].Value()
	shared.Unlock()
	if g.index != nil {
		return nil
	}
	var all []authz.Grant
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&all); err != nil {
		return err
	}
	g.index = authz.NewGrantIndex(all)
	g.share(key)
	return nil
}

// share lets other records have the index, for as long as any has it.
func (g *grants) share(key [sha256.Size]byte) {
	shared.Lock()
	defer shared.Unlock()
	if shared.indexes == nil {
		shared.indexes = map[[sha256.Size]byte]weak.Pointer[authz.GrantIndex]{}
	}
	shared.indexes[key] = weak.Make(g.index)
	runtime.AddCleanup(g.index, forget, key)
}

// forget drops an index that nobody has any more, unless there is a new one.
func forget(key [sha256.Size]byte) {
	shared.Lock()
	defer shared.Unlock()
	if shared.indexes[key].Value() == nil {
		delete(shared.indexes, key)
	}
}
