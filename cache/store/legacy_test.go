package store

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

var legacyBehaviours = []behaviour{
	{"a merchant has one legacy secret", createsOneLegacy},
	{"of twenty first legacy secrets one lives", createsLegacyAtOnce},
	{"a slow legacy secret is not killed once it lives", createsLegacySlowly},
	{"a legacy secret is rotated once", rotatesLegacy},
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
	if _, err := w.Delete(t.Context(), first.ID, AllReplicas); err != nil {
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
			if storesRecord(cmd) {
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
				if storesRecord(cmd) {
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
	if _, err := w.Delete(t.Context(), first.ID, AllReplicas); err != nil {
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
