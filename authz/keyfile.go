package authz

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxPrefix bounds a token prefix, in bytes.
const maxPrefix = 16

var prefixChars = newCharset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_")

// keyFile is a keyring as JSON.
type keyFile struct {
	Version int        `json:"version"`
	Prefix  string     `json:"prefix"`
	Keys    []keyEntry `json:"keys"` // the minting key first
}

type keyEntry struct {
	ID  string `json:"id"`
	Key []byte `json:"key"` // 32 bytes, in base64
}

// NewKeyring makes a keyring of one fresh key. prefix is 0 to 16 of A-Z a-z
// 0-9 and _, and stands before every token.
func NewKeyring(prefix string) (*Keyring, error) {
	if len(prefix) > maxPrefix || !prefixChars.holds(prefix) {
		return nil, fmt.Errorf("prefix %q: use at most %d of A-Z a-z 0-9 and _", prefix, maxPrefix)
	}
	return (&Keyring{prefix: prefix}).Add()
}

// Add is the keyring with one more fresh key, which verifies and does not mint
// (unless it is the only one).
func (k *Keyring) Add() (*Keyring, error) {
	raw := make([]byte, 32)
	rand.Read(raw)
	fresh, err := newKey(raw)
	if err != nil {
		return nil, err
	}
	return &Keyring{prefix: k.prefix, keys: append(slices.Clone(k.keys), fresh)}, nil
}

// Promote is the keyring with the key of this id as the one that mints.
func (k *Keyring) Promote(id string) (*Keyring, error) {
	i, err := k.find(id)
	if err != nil {
		return nil, err
	}
	rest := slices.Delete(slices.Clone(k.keys), i, i+1)
	return &Keyring{prefix: k.prefix, keys: slices.Insert(rest, 0, k.keys[i])}, nil
}

// Retire is the keyring without the key of this id. The minting key cannot be
// retired. Whether live secrets need the key is the caller's to know.
func (k *Keyring) Retire(id string) (*Keyring, error) {
	i, err := k.find(id)
	if err != nil {
		return nil, err
	}
	if i == 0 {
		return nil, fmt.Errorf("key %s mints: promote another key first", id)
	}
	return &Keyring{prefix: k.prefix, keys: slices.Delete(slices.Clone(k.keys), i, i+1)}, nil
}

func (k *Keyring) find(id string) (int, error) {
	i := slices.IndexFunc(k.keys, func(key *key) bool { return key.id == id })
	if i < 0 {
		return 0, fmt.Errorf("there is no key %q: there are %v, the minting one first", id, k.KeyIDs())
	}
	return i, nil
}

// MarshalJSON is the key file, keys and all.
func (k *Keyring) MarshalJSON() ([]byte, error) {
	file := keyFile{Version: 1, Prefix: k.prefix}
	for _, key := range k.keys {
		file.Keys = append(file.Keys, keyEntry{ID: key.id, Key: key.raw})
	}
	return json.MarshalIndent(file, "", "  ")
}

// ParseKeyring reads a key file. No error shows a key.
func ParseKeyring(data []byte) (*Keyring, error) {
	var file keyFile
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&file); err != nil {
		return nil, errors.New("it is not the JSON of a key file")
	}
	if _, err := decoder.Token(); err != io.EOF {
		return nil, errors.New("something follows the key file's JSON")
	}
	switch {
	case file.Version != 1:
		return nil, fmt.Errorf("its version is %d: this program reads version 1", file.Version)
	case len(file.Prefix) > maxPrefix || !prefixChars.holds(file.Prefix):
		return nil, errors.New("its prefix is not at most 16 of A-Z a-z 0-9 and _")
	case len(file.Keys) == 0:
		return nil, errors.New("it has no keys")
	}
	k := &Keyring{prefix: file.Prefix}
	for _, entry := range file.Keys {
		key, err := newKey(entry.Key)
		if err != nil {
			return nil, fmt.Errorf("key %q: %w", entry.ID, err)
		}
		if _, err := k.find(key.id); key.id != entry.ID || err == nil {
			return nil, fmt.Errorf("key %q is damaged or stands twice: its id is %s", entry.ID, key.id)
		}
		k.keys = append(k.keys, key)
	}
	return k, nil
}
