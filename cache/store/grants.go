package store

import (
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
type grants struct {
	all   []authz.Grant
	index *authz.GrantIndex // of them, where they were read
}

// shared has the indexes in use, by the SHA-256 of their text.
var shared struct {
	sync.Mutex // guards what follows
	indexes    map[[sha256.Size]byte]weak.Pointer[authz.GrantIndex]
}

// MarshalJSON implements json.Marshaler.
func (g grants) MarshalJSON() ([]byte, error) { return json.Marshal(g.all) }

// IsZero tells encoding/json, and others, that there are none.
func (g grants) IsZero() bool { return len(g.all) == 0 }

// UnmarshalJSON implements json.Unmarshaler.
func (g *grants) UnmarshalJSON(text []byte) error {
	key := sha256.Sum256(text)
	shared.Lock()
	g.index = shared.indexes[key].Value()
	shared.Unlock()
	if g.index != nil {
		g.all = g.index.Grants()
		return nil
	}
	if err := decodeStrictly(text, &g.all); err != nil {
		return err
	}
	g.index = authz.NewGrantIndex(g.all)
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
