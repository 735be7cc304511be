package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

var createBehaviours = []behaviour{
	{"what is created is read", createsAndReads},
	{"a new secret is listed before it lives", createsInOrder},
	{"a new secret never replaces a tombstone", createsOverNothing},
	{"a closed merchant gets no secret", createsForNobody},
	{"a merchant has one legacy secret", createsOneLegacy},
	{"of twenty first legacy secrets one lives", createsLegacyAtOnce},
	{"a slow legacy secret is not killed once it lives", createsLegacySlowly},
	{"a legacy secret is rotated once", rotatesLegacy},
	{"an imported token is refused for good", importsOnce},
	{"two imports of one token at once", importsAtOnce},
	{"an import that was not finished", importsElsewhere},
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
	if !lookup.Minted || lookup.Digests[0].ID() != made.ID {
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

// A writer that dies at any of its commands leaves no live secret that the list
// does not show.
func createsInOrder(t *testing.T, w *world) {
	old, oldLegacy := map[string]string{}, ""
	makers := []struct {
		name string
		make func(s *Store, merchant string) error
	}{
		{"Create", func(s *Store, m string) error { _, _, err := s.Create(t.Context(), some(m)); return err }},
		{"CreateLegacy", func(s *Store, m string) error { _, _, err := s.CreateLegacy(t.Context(), legacySecret(m)); return err }},
		{"Import", func(s *Store, m string) error {
			_, err := s.Import(t.Context(), some(m), sha256.Sum256([]byte(m)))
			return err
		}},
		{"Rotate", func(s *Store, m string) error {
			_, _, err := s.Rotate(t.Context(), legacySecret(m), old[m])
			return err
		}},
	}
	for _, maker := range makers {
		points := 0
		for at := 1; ; at++ {
			var ended error
			for _, carried := range []bool{false, true} {
				what := fmt.Sprintf("%s that dies at command %d, carried out: %v", maker.name, at, carried)
				merchant := strings.ReplaceAll(fmt.Sprint("m-", maker.name, at, carried), " ", "")
				if maker.name == "Rotate" {
					_, legacy, err := w.CreateLegacy(t.Context(), legacySecret(merchant))
					if err != nil {
						t.Fatal(err)
					}
					old[merchant], oldLegacy = legacy.ID, legacy.ID
				}
				w.meddle(crash(at, carried))
				ended = maker.make(w.Store, merchant)
				w.meddle(nil)
				if ended != nil && !errors.Is(ended, errCrash) {
					t.Errorf("%s: %v", what, ended)
				}
				w.showsAll(what)
				if ended == nil {
					continue
				}
				points++
				again := maker.make(w.Store, merchant)
				lives := len(w.listed(merchant)) > 0
				if oldLegacy != "" {
					lives = len(w.listed(merchant)) > 1
				}
				if !lives {
					t.Errorf("%s, then again: %v, and no secret", what, again)
				}
			}
			if ended == nil {
				break
			}
		}
		if points < 6 {
			t.Errorf("deaths of %s = %d, want one before and one after each of its commands", maker.name, points)
		}
		oldLegacy = ""
	}
}

// recordOf reports whether a command is about the record of a secret.
func recordOf(cmd redis.Cmder, names ...string) bool {
	args := cmd.Args()
	if len(args) < 2 || !strings.HasPrefix(fmt.Sprint(args[1]), secretKey("")) {
		return false
	}
	for _, name := range names {
		if strings.EqualFold(cmd.Name(), name) {
			return true
		}
	}
	return false
}

// A merchant is deleted while one of its secrets is listed and does not live
// yet. The same without that is the control.
func createsOverNothing(t *testing.T, w *world) {
	for _, deleted := range []bool{false, true} {
		merchant := fmt.Sprint("m-", deleted)
		w.made(merchant)
		admin := w.other(w.Keyring())
		w.meddle(func(cmd redis.Cmder, next func() error) error {
			if deleted && recordOf(cmd, "set", "setnx") {
				if ids, err := admin.DeleteMerchant(t.Context(), merchant); err != nil || len(ids) != 2 {
					t.Errorf("DeleteMerchant = %v, %v, want the finished and the unfinished secret", ids, err)
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
	if _, err := w.DeleteMerchant(t.Context(), "m"); err != nil {
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

func createsOneLegacy(t *testing.T, w *world) {
	_, first, err := w.CreateLegacy(t.Context(), legacySecret("m"))
	if err != nil {
		t.Fatal(err)
	}
	before := w.dump()
	if token, _, err := w.CreateLegacy(t.Context(), legacySecret("m")); err == nil || token != (authz.Token{}) || !strings.Contains(err.Error(), first.ID) {
		t.Errorf("second CreateLegacy = %v, %v, want an error that names %s", token, err, first.ID)
	}
	w.unchanged("a refusal", before)
	if _, err := w.Delete(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	_, second, err := w.CreateLegacy(t.Context(), legacySecret("m"))
	if err != nil {
		t.Fatal(err)
	}
	w.same("live", w.listed("m"), []string{second.ID})
}

func createsLegacyAtOnce(t *testing.T, w *world) {
	for round := range 3 {
		merchant := fmt.Sprint("m-", round)
		var mu sync.Mutex
		var all sync.WaitGroup
		var made []string
		start := make(chan struct{})
		for range 20 {
			all.Go(func() {
				<-start
				_, secret, err := w.CreateLegacy(t.Context(), legacySecret(merchant))
				if authz.ReasonOf(err) == authz.StoreUnavailable {
					t.Errorf("CreateLegacy: %v", err)
				}
				if err == nil {
					mu.Lock()
					defer mu.Unlock()
					made = append(made, secret.ID)
				}
			})
		}
		close(start)
		all.Wait()
		if len(made) > 1 {
			t.Errorf("first legacy secrets made at once = %v, want one at most", made)
		}
		w.same("live, of those handed out", w.listed(merchant), made)
		if _, secret, err := w.CreateLegacy(t.Context(), legacySecret(merchant)); err == nil {
			made = append(made, secret.ID)
		}
		if len(made) != 1 {
			t.Errorf("first legacy secrets, and one more try = %v, want one", made)
		}
		w.same("live, in the end", w.listed(merchant), made)
	}
}

// A second writer sees a legacy secret that is listed and does not live yet.
// It ends it for good; but not when it has come to live since it looked.
func createsLegacySlowly(t *testing.T, w *world) {
	for _, lives := range []bool{false, true} {
		merchant := fmt.Sprint("m-", lives)
		slow, quick := w.other(w.Keyring()), w.other(w.Keyring())
		listed, store, stored := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		slow.meddle(func(cmd redis.Cmder, next func() error) error {
			if recordOf(cmd, "set", "setnx") {
				close(listed)
				<-store
			}
			return next()
		})
		go func() {
			_, _, err := slow.CreateLegacy(t.Context(), legacySecret(merchant))
			stored <- err
		}()
		<-listed
		if lives {
			quick.meddle(func(cmd redis.Cmder, next func() error) error {
				if recordOf(cmd, "set", "setnx") {
					close(store)
					if err := <-stored; err != nil {
						t.Errorf("the slow CreateLegacy = %v, want it done", err)
					}
					quick.meddle(nil)
				}
				return next()
			})
		}
		_, second, err := quick.CreateLegacy(t.Context(), legacySecret(merchant))
		if lives {
			if err == nil || len(w.listed(merchant)) != 1 || !strings.Contains(err.Error(), w.listed(merchant)[0]) {
				t.Errorf("the quick CreateLegacy = %v, live %v, want an error that names the slow one's, alive", err, w.listed(merchant))
			}
			continue
		}
		close(store)
		if slowly := <-stored; err != nil || slowly == nil || !strings.Contains(slowly.Error(), "while it was being made") {
			t.Errorf("quick, slow CreateLegacy = %v, %v, want the quick one's done and an error for the slow one", err, slowly)
		}
		w.same("live", w.listed(merchant), []string{second.ID})
	}
}

func rotatesLegacy(t *testing.T, w *world) {
	_, first, err := w.CreateLegacy(t.Context(), legacySecret("m"))
	if err != nil {
		t.Fatal(err)
	}
	_, second, err := w.Rotate(t.Context(), legacySecret("m"), first.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.same("both live", w.listed("m"), []string{first.ID, second.ID})
	for _, old := range []string{first.ID, second.ID} {
		if _, _, err := w.Rotate(t.Context(), legacySecret("m"), old); err == nil {
			t.Errorf("Rotate to a third legacy secret was allowed")
		}
	}
	if _, err := w.Delete(t.Context(), first.ID); err != nil {
		t.Fatal(err)
	}
	_, third, err := w.Rotate(t.Context(), legacySecret("m"), second.ID)
	if err != nil {
		t.Fatal(err)
	}
	_, granted := w.made("m")
	_, beside, err := w.Rotate(t.Context(), some("m"), granted.ID)
	if err != nil {
		t.Fatal(err)
	}
	w.same("all that live", w.listed("m"), []string{second.ID, third.ID, granted.ID, beside.ID})
}

// A token that is in the store, or was, does not come in again: not for another
// merchant, and not under another key.
func importsOnce(t *testing.T, w *world) {
	live, dead := sha256.Sum256([]byte("live")), sha256.Sum256([]byte("dead"))
	first, err := w.Import(t.Context(), some("m"), live)
	if err != nil || first.Redacted != authz.Imported {
		t.Fatal(first, err)
	}
	if got, err := w.Read(t.Context(), first.ID); err != nil || !reflect.DeepEqual(got, first) {
		t.Errorf("Read of an imported secret = %+v, %v, want %+v", got, err, first)
	}
	gone, err := w.Import(t.Context(), some("m"), dead)
	if err == nil {
		_, err = w.Delete(t.Context(), gone.ID)
	}
	if err != nil {
		t.Fatal(err)
	}
	before := w.dump()
	refuse := func(what string) {
		for sum, want := range map[[32]byte]string{live: "already in the store", dead: "was deleted"} {
			if _, err := w.Import(t.Context(), some("other"), sum); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: Import = %v, want one with %q", what, err, want)
			}
		}
		w.unchanged(what, before)
	}
	refuse("the same key")
	next, err := w.Keyring().Add()
	if err != nil {
		t.Fatal(err)
	}
	w.SetKeyring(next)
	refuse("a second key")
	if next, err = next.Promote(next.KeyIDs()[1]); err != nil {
		t.Fatal(err)
	}
	w.SetKeyring(next)
	refuse("another key mints")
	if _, err := w.Import(t.Context(), some("other"), sha256.Sum256([]byte("new"))); err != nil {
		t.Errorf("control: Import of a new token = %v", err)
	}
}

// One wins, and nobody sees or deletes it through the other's list.
func importsAtOnce(t *testing.T, w *world) {
	var all sync.WaitGroup
	errs := make([]error, 10)
	start := make(chan struct{})
	for i := range errs {
		all.Go(func() {
			<-start
			_, errs[i] = w.Import(t.Context(), some(fmt.Sprint("m-", i)), sha256.Sum256([]byte("token")))
		})
	}
	close(start)
	all.Wait()
	won := -1
	for i, err := range errs {
		if err == nil && won >= 0 {
			t.Errorf("imports of one token that succeed: %d and %d", won, i)
		}
		if err == nil {
			won = i
		}
	}
	if won < 0 {
		t.Fatal("no import succeeds:", errs)
	}
	for i := range errs {
		if got, want := len(w.listed(fmt.Sprint("m-", i))), map[bool]int{true: 1}[i == won]; got != want {
			t.Errorf("secrets that merchant m-%d sees = %d, want %d", i, got, want)
		}
	}
}

// An import for one merchant dies before the record; another's is made. The
// first merchant's list still names the secret, and must not be believed.
func importsElsewhere(t *testing.T, w *world) {
	sum := sha256.Sum256([]byte("token"))
	w.made("first")
	w.meddle(func(cmd redis.Cmder, next func() error) error {
		if recordOf(cmd, "set", "setnx") {
			cmd.SetErr(errCrash)
			return errCrash
		}
		return next()
	})
	if _, err := w.Import(t.Context(), some("first"), sum); !errors.Is(err, errCrash) {
		t.Errorf("the import that dies = %v", err)
	}
	w.meddle(nil)
	secret, err := w.Import(t.Context(), some("second"), sum)
	if err != nil {
		t.Fatal(err)
	}
	if x, err := w.index(t.Context(), "first"); err != nil || len(x.ids) != 2 {
		t.Errorf("the first merchant's list = %v, %v, want both secrets: this test shows nothing", x.ids, err)
	}
	if got := w.listed("first"); len(got) != 1 || got[0] == secret.ID {
		t.Errorf("List of the first merchant = %v, want its one secret, and not %s", got, secret.ID)
	}
	if ids, err := w.DeleteMerchant(t.Context(), "first"); err != nil || len(ids) != 1 {
		t.Errorf("DeleteMerchant = %v, %v, want one secret", ids, err)
	}
	w.same("the second merchant's", w.listed("second"), []string{secret.ID})
}
