package store

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

var recordBehaviours = []behaviour{
	{"a record is good in its own place only", readsInPlace},
	{"a catalog is kept once", keepsCatalog},
}

// fixedKeys are the same in every process, as fuzzing needs.
func fixedKeys(t testing.TB) *authz.Keyring {
	t.Helper()
	keys, err := authz.ParseKeyring([]byte(`{"version": 1, "prefix": "", "keys": [
		{"id": "172443f5", "key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}]}`))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

const fixedID = "0123456789abcdef0123456789abcdef"

// sealed is a secret as it is stored.
func sealed(t testing.TB, keys *authz.Keyring, s authz.Secret) []byte {
	t.Helper()
	stored, err := encodeRecord(keys, &s)
	if err != nil {
		t.Fatal(err)
	}
	return stored
}

func fixedSecret() authz.Secret {
	s := some("m")
	s.ID, s.Redacted = fixedID, "pBy_**************S13Q"
	return s
}

func TestRecordRoundTrip(t *testing.T) {
	keys := fixedKeys(t)
	legacy := legacySecret("m")
	legacy.ID = fixedID
	for _, s := range []authz.Secret{
		fixedSecret(), legacy,
		{ID: fixedID, Merchant: "m", Redacted: authz.Imported, DeletedAt: time.Date(2026, 11, 23, 0, 0, 0, 1e6, time.UTC)},
		{ID: fixedID, DeletedAt: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)},
	} {
		got, keyID, err := decodeRecord(keys, fixedID, sealed(t, keys, s))
		if want := authz.NewSecret(s); err != nil || !reflect.DeepEqual(got, want) || keyID != keys.KeyIDs()[0] {
			t.Errorf("decodeRecord = %+v, key %s, %v, want %+v", got, keyID, err, want)
		}
	}
}

// Every way to change one byte, to drop bytes, and to repeat them.
func TestChangedRecordIsInvalid(t *testing.T) {
	keys := fixedKeys(t)
	good := sealed(t, keys, fixedSecret())
	check := func(what string, stored []byte) {
		s, keyID, err := decodeRecord(keys, fixedID, stored)
		if !errors.Is(err, authz.RecordInvalid) || s != nil || keyID != "" {
			t.Errorf("%s: decodeRecord = %+v, key %q, %v, want %v", what, s, keyID, err, authz.RecordInvalid)
		}
	}
	for i := range good {
		for bit := range 8 {
			stored := bytes.Clone(good)
			stored[i] ^= 1 << bit
			check(fmt.Sprintf("byte %d, bit %d", i, bit), stored)
		}
		check(fmt.Sprintf("the first %d bytes", i), good[:i])
		check(fmt.Sprintf("all but byte %d", i), slices.Concat(good[:i], good[i+1:]))
		check(fmt.Sprintf("byte %d twice", i), slices.Insert(bytes.Clone(good), i, good[i]))
		if i > 0 {
			check(fmt.Sprintf("from byte %d", i), good[i:])
		}
	}
	text, seal, _ := bytes.Cut(good, []byte("\n"))
	for _, stored := range [][]byte{
		nil, {'\n'}, slices.Concat(good, []byte("\n")), slices.Concat(good, good), slices.Concat(text, []byte("\n\n"), seal),
		slices.Concat([]byte("\n"), good), slices.Concat(text, []byte(" \n"), seal), slices.Concat(good, []byte{0}),
		slices.Concat(text, []byte("\n"), bytes.ToUpper(seal)), slices.Concat(text, []byte("\n."), seal),
	} {
		check(fmt.Sprintf("%q", stored), stored)
	}
	if _, _, err := decodeRecord(keys, fixedID, good); err != nil {
		t.Errorf("control: decodeRecord of what was not changed = %v", err)
	}
}

// What is sealed and still cannot be used, as of a newer program, or moved.
func TestUnusableRecordIsInvalid(t *testing.T) {
	keys := fixedKeys(t)
	foreign, err := authz.NewKeyring("")
	if err != nil {
		t.Fatal(err)
	}
	id := keys.KeyIDs()[0]
	value := func(change string, to any) map[string]any {
		v := map[string]any{"version": 1, "id": fixedID, "merchant": "m", "unrestricted": true}
		v[change] = to
		return v
	}
	granted := value("grants", []authz.Grant{{Permission: "p"}})
	bare := value("unrestricted", false)
	tests := []struct {
		name  string
		keys  *authz.Keyring
		key   string // that it was sealed for
		value any
		keyID string
		want  string // in the error; "": it can be used
	}{
		{"control", keys, secretKey(fixedID), value("version", 1), id, ""},
		{"newer", keys, secretKey(fixedID), value("version", 2), id, "its version is 2, and this program reads version 1: upgrade it"},
		{"no version", keys, secretKey(fixedID), value("version", 0), id, "its version is 0"},
		{"newer tombstone", keys, secretKey(fixedID), map[string]any{"version": 2, "id": fixedID, "deleted_at": time.Now()}, id, "version is 2"},
		{"another's, resealed", keys, secretKey(fixedID), value("id", "another"), id, `it is the record of "another"`},
		{"moved", keys, secretKey("another"), value("version", 1), "", "no MAC by a key of ours"},
		{"from the epoch's place", keys, epochKey, value("version", 1), "", "no MAC by a key of ours"},
		{"from a catalog's place", keys, catalogKey(fixedID), value("version", 1), "", "no MAC by a key of ours"},
		{"another's key", foreign, secretKey(fixedID), value("version", 1), "", "no MAC by a key of ours"},
		{"nobody's", keys, secretKey(fixedID), value("merchant", ""), id, "it names no merchant"},
		{"both legacy and with grants", keys, secretKey(fixedID), granted, id, "neither a legacy secret nor one with grants"},
		{"neither", keys, secretKey(fixedID), bare, id, "neither a legacy secret nor one with grants"},
		{"a list", keys, secretKey(fixedID), []int{1}, id, "decode"},
		{"text for a number", keys, secretKey(fixedID), value("version", "1"), id, "decode"},
		{"no address", keys, secretKey(fixedID), value("allow_ips", []string{"192.0.2.0/99"}), id, "decode"},
		{"no time", keys, secretKey(fixedID), value("expires_at", "soon"), id, "decode"},
	}
	for _, tt := range tests {
		stored, err := sealJSON(tt.keys, tt.key, tt.value)
		if err != nil {
			t.Fatal(err)
		}
		s, keyID, err := decodeRecord(keys, fixedID, stored)
		if keyID != tt.keyID || (err == nil) != (tt.want == "") || (s == nil) != (err != nil) {
			t.Errorf("%s: decodeRecord = %+v, key %q, %v, want key %q and %q", tt.name, s, keyID, err, tt.keyID, tt.want)
		}
		if err != nil && (!errors.Is(err, authz.RecordInvalid) || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), fixedID)) {
			t.Errorf("%s: error = %v, want %v with %q and the id", tt.name, err, authz.RecordInvalid, tt.want)
		}
	}
}

func TestDecodesOneDocument(t *testing.T) {
	for text, good := range map[string]bool{
		`{"id":"a"}`: true, `{"id":"a"} `: true,
		`{"id":"a"}{}`: false, `{"id":"a"}x`: false, `{"id":"a","more":1}`: false, ``: false,
	} {
		var r record
		if err := decodeStrictly([]byte(text), &r); (err == nil) != good {
			t.Errorf("decodeStrictly(%q) = %v, want none: %t", text, err, good)
		}
	}
}

func readsInPlace(t *testing.T, w *world) {
	_, a := w.made("m")
	_, b := w.made("m")
	good, err := w.client.Get(t.Context(), secretKey(a.ID)).Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, spoilt := range []string{good, "", good[:len(good)/2], strings.Replace(good, `"GET"`, `"PUT"`, 1)} {
		if err := w.client.Set(t.Context(), secretKey(b.ID), spoilt, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Read(t.Context(), b.ID); !errors.Is(err, authz.RecordInvalid) || !strings.Contains(err.Error(), b.ID) {
			t.Errorf("Read of %q in another's place = %v, want %v and the id", spoilt, err, authz.RecordInvalid)
		}
		if _, err := w.Read(t.Context(), a.ID); err != nil {
			t.Errorf("Read of the good one = %v", err)
		}
	}
	w.client.Del(t.Context(), secretKey(b.ID))
	w.client.LPush(t.Context(), secretKey(b.ID), good)
	if _, err := w.Read(t.Context(), b.ID); !errors.Is(err, authz.RecordInvalid) {
		t.Errorf("Read of another type = %v, want %v", err, authz.RecordInvalid)
	}
}

func keepsCatalog(t *testing.T, w *world) {
	if got, err := w.Catalog(t.Context(), "none"); err != nil || len(got.Permissions) != 0 {
		t.Errorf("Catalog of an empty store = %v, %v, want none", got, err)
	}
	catalog, err := authz.Compile([]authz.Operation{
		{ID: "get", Method: "GET", Path: "/a/{b}", Permission: "p"}, {ID: "put", Method: "PUT", Path: "/a/{b}", Permission: "p"},
		{ID: "list", Method: "GET", Path: "/a"},
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := w.SaveCatalog(t.Context(), catalog); err != nil {
			t.Fatal(err)
		}
	}
	got, err := w.Catalog(t.Context(), catalog.Hash())
	want := map[string][]string{"p": {"GET /a/{b}", "PUT /a/{b}"}, "list": {"GET /a"}}
	if err != nil || !maps.EqualFunc(got.Permissions, want, slices.Equal) {
		t.Errorf("Catalog = %v, %v, want %v", got, err, want)
	}
	w.same("Endpoints", got.Endpoints(), []string{"GET /a/{b}", "PUT /a/{b}", "GET /a"})
	w.client.Set(t.Context(), catalogKey(catalog.Hash()), "spoilt", 0)
	if got, err := w.Catalog(t.Context(), catalog.Hash()); err != nil || len(got.Permissions) != 0 {
		t.Errorf("Catalog that is spoilt = %v, %v, want none", got, err)
	}
	w.meddle(crash(1, false))
	defer w.meddle(nil)
	if _, err := w.Catalog(t.Context(), catalog.Hash()); !errors.Is(err, authz.StoreUnavailable) {
		t.Errorf("Catalog of a store that is away = %v, want %v", err, authz.StoreUnavailable)
	}
}

// FuzzDecodeRecord demands that nothing is read but what was sealed, for the
// name that it was sealed for.
func FuzzDecodeRecord(f *testing.F) {
	keys := fixedKeys(f)
	legacy := legacySecret("m")
	legacy.ID = "another"
	was := map[string]string{
		fixedID:   string(sealed(f, keys, fixedSecret())),
		"another": string(sealed(f, keys, legacy)),
		"dead":    string(sealed(f, keys, authz.Secret{ID: "dead", DeletedAt: time.Unix(1, 0).UTC()})),
	}
	for id, stored := range was {
		f.Add(id, []byte(stored))
		f.Add(fixedID, []byte(stored))
	}
	f.Add("", []byte("\n"))
	f.Add("another\x00{}", []byte("{}\n00000000."))
	f.Fuzz(func(t *testing.T, id string, stored []byte) {
		s, _, err := decodeRecord(keys, id, stored)
		switch {
		case err != nil && (s != nil || !errors.Is(err, authz.RecordInvalid)):
			t.Errorf("decodeRecord(%q, %q) = %+v, %v, want %v alone", id, stored, s, err, authz.RecordInvalid)
		case err == nil && was[id] != string(stored):
			t.Errorf("decodeRecord(%q, %q) = %+v, and it was never sealed", id, stored, s)
		}
	})
}
