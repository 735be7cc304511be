package store

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

var merchantBehaviours = []behaviour{
	{"a list is sorted by age", lists},
	{"a list tells what is broken", listsBroken},
	{"a list that is tampered with shows nobody else's", listsOwn},
	{"a list of another type is an error", listsWrongType},
}

func lists(t *testing.T, w *world) {
	made := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	want := make([]string, 10)
	for _, i := range []int{3, 9, 0, 5, 7, 1, 8, 2, 6, 4} {
		secret := some("m")
		secret.CreatedAt = made.Add(time.Duration(i) * time.Minute)
		_, stored, err := w.Create(t.Context(), secret)
		if err != nil {
			t.Fatal(err)
		}
		want[i] = stored.ID
	}
	w.made("other")
	if got := w.listed("m"); !slices.Equal(got, want) {
		t.Errorf("List = %v, want the oldest first: %v", got, want)
	}
	if got := w.listed("nobody"); len(got) != 0 {
		t.Errorf("List of nobody = %v, want none", got)
	}
}

func listsBroken(t *testing.T, w *world) {
	_, good := w.made("m")
	_, spoilt := w.made("m")
	_, lost := w.made("m")
	w.client.Set(t.Context(), secretKey(spoilt.ID), "spoilt", 0)
	w.client.Del(t.Context(), secretKey(lost.ID))
	secrets, broken, err := w.List(t.Context(), "m")
	if err != nil || len(secrets) != 1 || secrets[0].ID != good.ID {
		t.Errorf("List = %v, %v, want %s alone", secrets, err, good.ID)
	}
	if len(broken) != 1 || !errors.Is(broken[spoilt.ID], authz.RecordInvalid) {
		t.Errorf("broken = %v, want %s, as %v", broken, spoilt.ID, authz.RecordInvalid)
	}
	w.meddle(crash(2, false))
	defer w.meddle(nil)
	if _, _, err := w.List(t.Context(), "m"); !errors.Is(err, authz.StoreUnavailable) {
		t.Errorf("List of a store that goes away = %v, want %v", err, authz.StoreUnavailable)
	}
}

// The list has no MAC: who can write it must not thereby see, or end, what is
// another merchant's.
func listsOwn(t *testing.T, w *world) {
	_, own := w.made("m")
	_, another := w.made("other")
	if err := w.client.HSet(t.Context(), merchantKey("m"), another.ID, "", "no-id", "", "", "").Err(); err != nil {
		t.Fatal(err)
	}
	w.same("List", w.listed("m"), []string{own.ID})
	if deleted, err := w.DeleteMerchant(t.Context(), "m", AllReplicas); err != nil || slices.Contains(buried(deleted), another.ID) {
		t.Errorf("DeleteMerchant = %v, %v, want it to spare %s", deleted, err, another.ID)
	}
	w.same("List of the other", w.listed("other"), []string{another.ID})
}

func listsWrongType(t *testing.T, w *world) {
	w.made("other")
	w.client.Set(t.Context(), merchantKey("m"), "text", 0)
	_, _, list := w.List(t.Context(), "m")
	_, _, create := w.Create(t.Context(), some("m"))
	_, _, legacy := w.CreateLegacy(t.Context(), legacySecret("m"))
	_, closing := w.DeleteMerchant(t.Context(), "m", AllReplicas)
	for _, err := range []error{list, create, legacy, closing} {
		if err == nil || authz.ReasonOf(err).Decision() != authz.Fail {
			t.Errorf("with a list of another type: %v, want an error that is no denial", err)
		}
	}
	if got := len(w.live()); got != 1 {
		t.Errorf("live secrets = %d, want the other merchant's", got)
	}
}
