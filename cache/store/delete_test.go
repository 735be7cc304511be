package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
)

var deleteBehaviours = []behaviour{
	{"what is deleted leaves a tombstone", deletes},
	{"a deletion that dies is finished by the next", deletesInOrder},
	{"a merchant is closed for good", closes},
	{"a merchant's deletion that dies is finished by the next", closesInOrder},
	{"deleting at once", deletesAtOnce},
	{"a deletion needs one connection at a time", deletesOnOne},
	{"what cannot be read can be deleted", deletesBroken},
	{"what is not there cannot be deleted", deletesNothing},
}

func deletes(t *testing.T, w *world) {
	_, secret := w.made("m")
	_, other := w.made("m")
	begun := time.Now().Truncate(time.Millisecond)
	deletion, err := w.Delete(t.Context(), secret.ID, AllReplicas)
	if err != nil || len(deletion.Tombstones) != 1 {
		t.Fatalf("Delete = %+v, %v, want one tombstone", deletion, err)
	}
	tombstone := deletion.Tombstones[0]
	want := authz.Secret{ID: secret.ID, Merchant: "m", Redacted: secret.Redacted, DeletedAt: tombstone.DeletedAt}
	got, err := w.Read(t.Context(), secret.ID)
	if err != nil || got.DeletedAt.Before(begun) || got.DeletedAt.After(time.Now()) {
		t.Errorf("Read of a deleted secret = %+v, %v, want a tombstone of now", got, err)
	}
	for _, got := range []*authz.Secret{tombstone, got} {
		if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", *authz.NewSecret(want)) {
			t.Errorf("tombstone = %+v, want %+v", got, want)
		}
	}
	w.same("List", w.listed("m"), []string{other.ID})
	before := w.dump()
	again, err := w.Delete(t.Context(), secret.ID, AllReplicas)
	if err != nil || !again.Tombstones[0].DeletedAt.Equal(tombstone.DeletedAt) || !deletion.Announced.Before(again.Announced) {
		t.Errorf("Delete again = %+v, %v, want the same tombstone, announced later than %v", again, err, deletion.Announced)
	}
	before[logKey] = w.dump()[logKey] // it is announced again
	w.unchanged("deleting again", before)
	if got, err := w.client.PTTL(t.Context(), secretKey(secret.ID)).Result(); got != -1 || err != nil {
		t.Errorf("time to live of a tombstone = %v, %v, want none (-1)", got, err)
	}
}

func deletesInOrder(t *testing.T, w *world) {
	for at := 1; ; at++ {
		var ended error
		for _, carried := range []bool{false, true} {
			what := fmt.Sprintf("Delete that dies at command %d, carried out: %v", at, carried)
			_, secret := w.made("m")
			w.meddle(crash(at, carried))
			_, ended = w.Delete(t.Context(), secret.ID, AllReplicas)
			w.meddle(nil)
			if ended != nil && !errors.Is(ended, errCrash) {
				t.Errorf("%s: %v", what, ended)
			}
			w.showsAll(what)
			if _, err := w.Delete(t.Context(), secret.ID, AllReplicas); err != nil {
				t.Errorf("%s, then again: %v", what, err)
			}
			got, err := w.Read(t.Context(), secret.ID)
			x, indexErr := w.index(t.Context(), "m")
			if err != nil || indexErr != nil || got.DeletedAt.IsZero() || slices.Contains(x.ids, secret.ID) {
				t.Errorf("%s, then again: record %+v, %v, list %v, %v, want a tombstone that is not listed", what, got, err, x.ids, indexErr)
			}
		}
		if ended == nil {
			if at < 5 {
				t.Errorf("commands of Delete = %d, want 4: it did not die at each", at-1)
			}
			return
		}
	}
}

func closes(t *testing.T, w *world) {
	_, a := w.made("m")
	_, b, err := w.CreateLegacy(t.Context(), legacySecret("m"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := w.Import(t.Context(), some("m"), sha256.Sum256([]byte("token")))
	if err != nil {
		t.Fatal(err)
	}
	_, other := w.made("other")
	deleted, err := w.DeleteMerchant(t.Context(), "m", AllReplicas)
	if err != nil {
		t.Fatal(err)
	}
	w.same("deleted", buried(deleted), []string{a.ID, b.ID, c.ID})
	w.same("List", w.listed("m"), nil)
	w.same("List of another merchant", w.listed("other"), []string{other.ID})
	before := w.dump()
	if deleted, err := w.DeleteMerchant(t.Context(), "m", AllReplicas); err != nil || len(deleted.Tombstones) != 0 {
		t.Errorf("DeleteMerchant again = %v, %v, want nothing to do", deleted, err)
	}
	w.unchanged("deleting a merchant again", before)
	if x, err := w.index(t.Context(), "m"); err != nil || !x.closed || !x.known {
		t.Errorf("the merchant's list = %+v, %v, want it closed", x, err)
	}
}

func closesInOrder(t *testing.T, w *world) {
	for at := 1; ; at++ {
		merchant := fmt.Sprint("m-", at)
		w.made(merchant)
		if _, _, err := w.CreateLegacy(t.Context(), legacySecret(merchant)); err != nil {
			t.Fatal(err)
		}
		w.meddle(crash(at, at%2 == 0))
		_, ended := w.DeleteMerchant(t.Context(), merchant, AllReplicas)
		w.meddle(nil)
		w.showsAll(fmt.Sprint("DeleteMerchant that dies at command ", at))
		if _, err := w.DeleteMerchant(t.Context(), merchant, AllReplicas); err != nil {
			t.Errorf("DeleteMerchant that died at command %d, again: %v", at, err)
		}
		if x, err := w.index(t.Context(), merchant); err != nil || len(x.ids) != 0 || !x.closed {
			t.Errorf("DeleteMerchant that died at command %d, again: the list is %+v, %v, want it closed and empty", at, x, err)
		}
		if ended == nil {
			if at < 10 {
				t.Errorf("commands of DeleteMerchant = %d: it did not die at each", at-1)
			}
			break
		}
	}
	if got := len(w.live()); got != 0 {
		t.Errorf("live secrets of deleted merchants = %d, want 0", got)
	}
}

func deletesAtOnce(t *testing.T, w *world) {
	var all sync.WaitGroup
	for i := range 5 {
		_, secret := w.made("m")
		for range 4 {
			all.Go(func() {
				if _, err := w.Delete(t.Context(), secret.ID, AllReplicas); err != nil {
					t.Errorf("Delete: %v", err)
				}
			})
		}
		if i == 2 {
			all.Go(func() {
				if _, err := w.DeleteMerchant(t.Context(), "m", AllReplicas); err != nil {
					t.Errorf("DeleteMerchant: %v", err)
				}
			})
			break
		}
	}
	all.Wait()
	if x, err := w.index(t.Context(), "m"); err != nil || len(x.ids) != 0 || len(w.live()) != 0 {
		t.Errorf("left: list %v, live %v, %v, want nothing", x.ids, w.live(), err)
	}
}

// Where it held one and waited for another, as many deletions at once as there
// are connections would wait for each other.
func deletesOnOne(t *testing.T, w *world) {
	_, secret := w.made("m")
	narrow := New(connect(t, Options{URL: w.url, Timeout: patient / 5, PoolSize: 1}), w.Keyring())
	if _, err := narrow.Delete(t.Context(), secret.ID, AllReplicas); err != nil {
		t.Errorf("Delete by a client of one connection = %v", err)
	}
}

func deletesBroken(t *testing.T, w *world) {
	for _, spoil := range []func(name string) redis.Cmder{
		func(name string) redis.Cmder { return w.client.Set(t.Context(), name, "spoilt", 0) },
		func(name string) redis.Cmder {
			w.client.Del(t.Context(), name)
			return w.client.LPush(t.Context(), name, "item")
		},
	} {
		_, secret := w.made("m")
		if err := spoil(secretKey(secret.ID)).Err(); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Read(t.Context(), secret.ID); !errors.Is(err, authz.RecordInvalid) {
			t.Errorf("Read of a spoilt record = %v, want %v", err, authz.RecordInvalid)
		}
		if _, err := w.Delete(t.Context(), secret.ID, AllReplicas); err != nil {
			t.Errorf("Delete of a spoilt record = %v", err)
		}
		if got, err := w.Read(t.Context(), secret.ID); err != nil || got.DeletedAt.IsZero() {
			t.Errorf("Read of it deleted = %+v, %v, want a tombstone", got, err)
		}
		w.same("List", w.listed("m"), nil)
	}
	if deleted, err := w.DeleteMerchant(t.Context(), "m", AllReplicas); err != nil || len(w.live()) != 0 {
		t.Errorf("DeleteMerchant = %v, %v", deleted, err)
	}
}

func deletesNothing(t *testing.T, w *world) {
	for _, begun := range []bool{false, true} {
		if begun {
			w.made("m")
		}
		before := w.dump()
		if _, err := w.Delete(t.Context(), "00000000000000000000000000000000", AllReplicas); !errors.Is(err, authz.Unknown) {
			t.Errorf("Delete of no secret = %v, want %v", err, authz.Unknown)
		}
		if _, err := w.DeleteMerchant(t.Context(), "nobody", AllReplicas); !errors.Is(err, authz.Unknown) {
			t.Errorf("DeleteMerchant of nobody = %v, want %v", err, authz.Unknown)
		}
		w.unchanged("deleting nothing", before)
	}
}
