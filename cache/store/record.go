package store

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"

	"github.com/postern/postern/authz"
)

// recordVersion is the version of the records that this program writes, and
// the newest that it reads.
const recordVersion = 1

// record is the stored form of a secret or of a tombstone, as JSON.
type record struct {
	Version int    `json:"version"`
	ID      string `json:"id"`

	Merchant     string         `json:"merchant"`
	Description  string         `json:"description,omitempty"`
	Redacted     string         `json:"redacted"`
	CreatedAt    time.Time      `json:"created_at,omitzero"`
	ExpiresAt    time.Time      `json:"expires_at,omitzero"`
	AllowIPs     []netip.Prefix `json:"allow_ips,omitempty"`
	Catalog      string         `json:"catalog,omitempty"`
	Unrestricted bool           `json:"unrestricted,omitempty"`
	Grants       grants         `json:"grants,omitzero"`

	DeletedAt time.Time `json:"deleted_at,omitzero"`
}

// secretKey names a secret's record.
func secretKey(id string) string { return "postern:secret:" + id }

// sealJSON is a value as it is stored under name: JSON, a line feed, and a MAC
// over both name and JSON.
func sealJSON(keys *authz.Keyring, name string, value any) ([]byte, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return nil, fmt.Errorf("encode %s: %w", name, err)
	}
	seal, err := keys.Seal(name, text)
	if err != nil {
		return nil, err
	}
	return append(append(text, '\n'), seal...), nil
}

// openJSON reads what sealJSON wrote under the same name. The MAC is verified
// before anything is decoded. keyID names the key it was sealed under, also
// where the error is of what was sealed.
func openJSON(keys *authz.Keyring, name string, stored []byte, value any) (keyID string, err error) {
	i := bytes.LastIndexByte(stored, '\n')
	if i < 0 {
		return "", fmt.Errorf("%s is truncated or was never a record of ours", name)
	}
	keyID, ok := keys.Verify(name, stored[:i], string(stored[i+1:]))
	if !ok {
		return "", fmt.Errorf("%s has no MAC by a key of ours: it was changed, moved, or sealed under a key that is not here", name)
	}
	var head struct{ Version int }
	if err := json.Unmarshal(stored[:i], &head); err == nil && head.Version > recordVersion {
		return keyID, fmt.Errorf("its version is %d, and this program reads version %d: upgrade it", head.Version, recordVersion)
	}
	if err := decodeStrictly(stored[:i], value); err != nil {
		return keyID, fmt.Errorf("decode %s: %w", name, err)
	}
	return keyID, nil
}

// decodeStrictly reads one document, and refuses what is not known in it: a
// restriction must not be left out.
func decodeStrictly(text []byte, value any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(value); err != nil {
		return err
	}
	if _, err := decoder.Token(); err != io.EOF {
		return errors.New("something follows the document")
	}
	return nil
}

// encodeRecord is a secret as it is stored. What could not be read back is not
// written.
func encodeRecord(keys *authz.Keyring, s *authz.Secret) ([]byte, error) {
	r := record{
		Version: recordVersion, ID: s.ID, Merchant: s.Merchant, Description: s.Description, Redacted: s.Redacted,
		CreatedAt: s.CreatedAt, ExpiresAt: s.ExpiresAt, AllowIPs: s.AllowIPs, Catalog: s.Catalog,
		Unrestricted: s.Unrestricted, Grants: grants{all: s.Grants}, DeletedAt: s.DeletedAt,
	}
	if err := r.check(s.ID); err != nil {
		return nil, fmt.Errorf("encode secret %s: %w", s.ID, err)
	}
	return sealJSON(keys, secretKey(s.ID), r)
}

// decodeRecord reads a stored record. What is wrong with one makes an error
// that is authz.RecordInvalid. keyID names the key it was sealed under, also
// where the record is of a newer version; it is "" where none of ours is.
func decodeRecord(keys *authz.Keyring, id string, stored []byte) (s *authz.Secret, keyID string, err error) {
	var r record
	keyID, err = openJSON(keys, secretKey(id), stored, &r)
	if err == nil {
		err = r.check(id)
	}
	if err != nil {
		return nil, keyID, fmt.Errorf("read secret %s: %w: %w", id, authz.RecordInvalid, err)
	}
	secret := authz.Secret{
		ID: r.ID, Merchant: r.Merchant, Description: r.Description, Redacted: r.Redacted,
		CreatedAt: r.CreatedAt, ExpiresAt: r.ExpiresAt, AllowIPs: r.AllowIPs, Catalog: r.Catalog,
		Unrestricted: r.Unrestricted, DeletedAt: r.DeletedAt,
	}
	if r.Grants.IsZero() {
		return authz.NewSecret(secret), keyID, nil
	}
	return r.Grants.index.Secret(secret), keyID, nil
}

// check refuses a record that verifies and still cannot be used: nothing is
// taken for granted because a writer of ours wrote it.
func (r record) check(id string) error {
	switch {
	case r.Version != recordVersion:
		return fmt.Errorf("its version is %d, and this program reads version %d: upgrade it", r.Version, recordVersion)
	case r.ID != id:
		return fmt.Errorf("it is the record of %q", r.ID)
	case !r.DeletedAt.IsZero():
		return nil
	case r.Merchant == "":
		return errors.New("it names no merchant")
	case r.Unrestricted != r.Grants.IsZero():
		return errors.New("it is neither a legacy secret nor one with grants")
	}
	return nil
}
