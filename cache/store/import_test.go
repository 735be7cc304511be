package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

var importBehaviours = []behaviour{
	{"an imported token is refused for good", importsOnce},
	{"two imports of one token at once", importsAtOnce},
	{"an import that was not finished", importsElsewhere},
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
		_, err = w.Delete(t.Context(), gone.ID, AllReplicas)
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
		if storesRecord(cmd) {
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
	if deleted, err := w.DeleteMerchant(t.Context(), "first", AllReplicas); err != nil || len(deleted.Tombstones) != 1 {
		t.Errorf("DeleteMerchant = %v, %v, want one secret", deleted, err)
	}
	w.same("the second merchant's", w.listed("second"), []string{secret.ID})
}
