package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

var createBehaviours = []behaviour{
	{"what is created is read", createsAndReads},
	{"a new secret is listed before it lives", createsInOrder},
	{"a new secret never replaces a tombstone", createsOverNothing},
	{"a closed merchant gets no secret", createsForNobody},
	{"commands that the client sends twice", createsTwiceSent},
}

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

func legacySecret(merchant string) authz.Secret {
	return authz.Secret{Merchant: merchant, Description: "Legacy API Secret", Unrestricted: true}
}

func createsAndReads(t *testing.T, w *world) {
	token, made := w.made("m")
	legacyToken, legacy, err := w.CreateLegacy(t.Context(), legacySecret("m"))
	if err != nil {
		t.Fatal(err)
	}
	want := some("m")
	want.ID, want.Redacted = made.ID, w.Keyring().Redact(token)
	for _, want := range []*authz.Secret{authz.NewSecret(want), made, legacy} {
		if got, err := w.Read(t.Context(), want.ID); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("Read = %+v, %v, want %+v", got, err, want)
		}
	}
	lookup, _ := w.Keyring().Lookup(token)
	if !lookup.Minted || lookup.Digest.ID() != made.ID {
		t.Errorf("the token's lookup = %+v, want that of %s", lookup, made.ID)
	}
	w.same("List", w.listed("m"), []string{made.ID, legacy.ID})
	for _, s := range w.masters {
		for _, name := range s.Do("KEYS", "*").([]any) {
			if got := s.Do("PTTL", name); got != int64(-1) {
				t.Errorf("%s lives for %v ms, want for ever", name, got)
			}
			if stored := name.(string) + s.Do("DUMP", name).(string); strings.Contains(stored, token.Reveal()) || strings.Contains(stored, legacyToken.Reveal()) {
				t.Errorf("%s holds a token", name)
			}
		}
	}
	if _, err := w.Read(t.Context(), "00000000000000000000000000000000"); !errors.Is(err, authz.Unknown) {
		t.Errorf("Read of no secret = %v, want %v", err, authz.Unknown)
	}
}

// maker is a way to make a secret for a merchant.
type maker struct {
	name string
	make func(s *Store, merchant, old string) error
	old  bool // the merchant has a legacy secret before
}

// A writer that dies at any of its commands leaves no live secret that the list
// does not show, and nothing that keeps the next one from being made.
func createsInOrder(t *testing.T, w *world) {
	makers := []maker{
		{"Create", func(s *Store, m, _ string) error { _, _, err := s.Create(t.Context(), some(m)); return err }, false},
		{"CreateLegacy", func(s *Store, m, _ string) error {
			_, _, err := s.CreateLegacy(t.Context(), legacySecret(m))
			return err
		}, false},
		{"Import", func(s *Store, m, _ string) error {
			_, err := s.Import(t.Context(), some(m), sha256.Sum256([]byte(m)))
			return err
		}, false},
		{"Rotate", func(s *Store, m, old string) error {
			_, _, err := s.Rotate(t.Context(), legacySecret(m), old)
			return err
		}, true},
	}
	for _, m := range makers {
		at := 1
		for m.dies(w, at, false) && m.dies(w, at, true) {
			at++
		}
		if at < 4 {
			t.Errorf("commands of %s = %d, want 3 or more: it did not die at each", m.name, at-1)
		}
	}
}

// dies has a writer die at a command, and another try again. It reports whether
// the writer had as many commands.
func (m maker) dies(w *world, at int, carried bool) bool {
	w.t.Helper()
	what := fmt.Sprintf("%s that dies at command %d, carried out: %v", m.name, at, carried)
	merchant, old, want := fmt.Sprintf("%s-%d-%v", m.name, at, carried), "", 1
	if m.old {
		_, legacy, err := w.CreateLegacy(w.t.Context(), legacySecret(merchant))
		if err != nil {
			w.t.Fatal(err)
		}
		old, want = legacy.ID, 2
	}
	w.meddle(crash(at, carried))
	err := m.make(w.Store, merchant, old)
	w.meddle(nil)
	w.showsAll(what)
	if err == nil {
		return false
	}
	if !errors.Is(err, errCrash) {
		w.t.Errorf("%s: %v", what, err)
	}
	again := m.make(w.Store, merchant, old)
	if got := len(w.listed(merchant)); got < want {
		w.t.Errorf("%s, then again: %v, and %d secrets, want %d", what, again, got, want)
	}
	return true
}

// storesRecord reports whether a command stores a record or a tombstone.
func storesRecord(cmd redis.Cmder) bool {
	return (cmd.Name() == "set" || cmd.Name() == "setnx") && strings.HasPrefix(cmd.Args()[1].(string), secretKey(""))
}

// A merchant is deleted while one of its secrets is listed and does not live
// yet. The same without that is the control.
func createsOverNothing(t *testing.T, w *world) {
	for _, deleted := range []bool{false, true} {
		merchant := fmt.Sprint("m-", deleted)
		w.made(merchant)
		admin := w.other(w.Keyring())
		w.meddle(func(cmd redis.Cmder, next func() error) error {
			if deleted && storesRecord(cmd) {
				if d, err := admin.DeleteMerchant(t.Context(), merchant, AllReplicas); err != nil || len(d.Tombstones) != 2 {
					t.Errorf("DeleteMerchant = %v, %v, want the finished and the unfinished secret", d, err)
				}
			}
			return next()
		})
		token, secret, err := w.Create(t.Context(), some(merchant))
		w.meddle(nil)
		if deleted {
			if err == nil || secret != nil || token != (authz.Token{}) || !strings.Contains(err.Error(), "deleted") {
				t.Errorf("Create for a merchant that is deleted meanwhile = %v, %v, %v, want an error that tells it, alone", token, secret, err)
			}
			w.same("live secrets of a deleted merchant", w.listed(merchant), nil)
		} else if err != nil || len(w.listed(merchant)) != 2 {
			t.Errorf("control: Create = %v, listed %v", err, w.listed(merchant))
		}
		w.showsAll(fmt.Sprint("merchant deleted meanwhile: ", deleted))
	}
	if got := len(w.live()); got != 2 {
		t.Errorf("live secrets = %d, want the two of the control", got)
	}
}

func createsForNobody(t *testing.T, w *world) {
	_, secret := w.made("m")
	if _, err := w.DeleteMerchant(t.Context(), "m", AllReplicas); err != nil {
		t.Fatal(err)
	}
	before := w.dump()
	_, _, create := w.Create(t.Context(), some("m"))
	_, _, legacy := w.CreateLegacy(t.Context(), legacySecret("m"))
	_, _, rotate := w.Rotate(t.Context(), some("m"), secret.ID)
	_, imported := w.Import(t.Context(), some("m"), sha256.Sum256([]byte("token")))
	for _, err := range []error{create, legacy, rotate, imported} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("a secret for a deleted merchant: %v, want %v", err, ErrClosed)
		}
	}
	w.unchanged("a refusal", before)
}

// A Cluster client sends a command again where the answer was lost, although
// the server may have carried it out.
func createsTwiceSent(t *testing.T, w *world) {
	w.meddle(func(_ redis.Cmder, next func() error) error {
		if err := next(); err != nil {
			return err
		}
		return next()
	})
	token, secret := w.made("m")
	if lookup, _ := w.Keyring().Lookup(token); lookup.Digest.ID() != secret.ID {
		t.Errorf("the token is of %v, want %s", lookup, secret.ID)
	}
	imported, err := w.Import(t.Context(), some("m"), sha256.Sum256([]byte("token")))
	if err != nil {
		t.Fatal(err)
	}
	w.same("List", w.listed("m"), []string{secret.ID, imported.ID})
	_, legacy, err := w.CreateLegacy(t.Context(), legacySecret("other"))
	if err != nil {
		t.Fatal(err)
	}
	_, next, err := w.Rotate(t.Context(), legacySecret("other"), legacy.ID)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Delete(t.Context(), secret.ID, AllReplicas); err != nil {
		t.Errorf("Delete: %v", err)
	}
	if deleted, err := w.DeleteMerchant(t.Context(), "m", AllReplicas); err != nil || len(deleted.Tombstones) != 1 {
		t.Errorf("DeleteMerchant = %v, %v, want one secret", deleted, err)
	}
	w.meddle(nil)
	w.same("legacy secrets", w.listed("other"), []string{legacy.ID, next.ID})
	if got := len(w.live()); got != 2 {
		t.Errorf("live secrets = %d, want the two legacy ones", got)
	}
}
