package store

import (
	"crypto/sha256"
	"errors"
	"sync"
	"testing"

	"github.com/postern/postern/authz"
)

var epochBehaviours = []behaviour{
	{"the first write makes the epoch", begins},
	{"first writers at once agree", beginsAtOnce},
	{"of first writers with other keys one wins", beginsOnce},
	{"a foreign key file changes nothing", refusesForeign},
	{"an epoch that cannot be read", refusesBrokenEpoch},
}

// epochOf demands an epoch without an error.
func (w *world) epochOf() string {
	w.t.Helper()
	epoch, err := w.Epoch(w.t.Context())
	if err != nil {
		w.t.Errorf("Epoch: %v", err)
	}
	return epoch
}

func begins(t *testing.T, w *world) {
	if got := w.epochOf(); got != "" {
		t.Errorf("Epoch of an empty server = %q, want none", got)
	}
	w.listed("m")
	w.same("what reading writes", w.ids(), nil)
	if got := w.epochOf(); got != "" {
		t.Errorf("Epoch after reading = %q, want none", got)
	}
	w.made("m")
	first := w.epochOf()
	w.made("m")
	if got := w.epochOf(); first == "" || got != first {
		t.Errorf("Epoch after one write and two = %q, %q, want one and the same", first, got)
	}
	for _, s := range w.masters {
		s.Do("FLUSHALL")
	}
	w.made("m")
	if got := w.epochOf(); got == "" || got == first {
		t.Errorf("Epoch after the store was emptied = %q, want another than %q", got, first)
	}
}

func beginsAtOnce(t *testing.T, w *world) {
	var all sync.WaitGroup
	var epochs sync.Map
	start := make(chan struct{})
	for range 20 {
		all.Go(func() {
			<-start
			if err := w.begin(t.Context()); err != nil {
				t.Errorf("begin: %v", err)
			}
			epochs.Store(w.epochOf(), true)
		})
	}
	close(start)
	all.Wait()
	n := 0
	epochs.Range(func(epoch, _ any) bool {
		if n++; n > 1 || epoch == "" {
			t.Errorf("epochs of first writers = %q and more, want one", epoch)
		}
		return true
	})
}

func beginsOnce(t *testing.T, w *world) {
	writers := []*world{w}
	for range 4 {
		keys, err := authz.NewKeyring("test_")
		if err != nil {
			t.Fatal(err)
		}
		writers = append(writers, w.other(keys))
	}
	var all sync.WaitGroup
	errs := make([]error, len(writers))
	start := make(chan struct{})
	for i, writer := range writers {
		all.Go(func() {
			<-start
			_, _, errs[i] = writer.Create(t.Context(), some("m"))
		})
	}
	close(start)
	all.Wait()
	won := 0
	for i, err := range errs {
		switch {
		case err == nil:
			won++
			if got := writers[i].live(); len(got) != 1 {
				t.Errorf("live secrets of the writer that won = %d, want 1", len(got))
			}
		case !errors.Is(err, ErrForeign):
			t.Errorf("Create of a writer that lost = %v, want %v", err, ErrForeign)
		}
	}
	if won != 1 {
		t.Errorf("writers that won = %d, want 1", won)
	}
}

// Every write with another store's key file is refused, and leaves all as it
// was. The same with the right one is the control.
func refusesForeign(t *testing.T, w *world) {
	_, secret := w.made("m")
	catalog := &authz.Catalog{}
	sum := sha256.Sum256([]byte("token"))
	keys, err := authz.NewKeyring("test_")
	if err != nil {
		t.Fatal(err)
	}
	writes := []struct {
		name  string
		write func(s *Store) error
	}{
		{"Create", func(s *Store) error { _, _, err := s.Create(t.Context(), some("m")); return err }},
		{"CreateLegacy", func(s *Store) error { _, _, err := s.CreateLegacy(t.Context(), legacySecret("m")); return err }},
		{"Rotate", func(s *Store) error { _, _, err := s.Rotate(t.Context(), some("m"), secret.ID); return err }},
		{"Import", func(s *Store) error { _, err := s.Import(t.Context(), some("m"), sum); return err }},
		{"SaveCatalog", func(s *Store) error { return s.SaveCatalog(t.Context(), catalog) }},
		{"Retire", func(s *Store) error { return s.Retire(t.Context(), "00000000", s.Keyring()) }},
		{"Delete", func(s *Store) error { _, err := s.Delete(t.Context(), secret.ID, AllReplicas); return err }},
		{"DeleteMerchant", func(s *Store) error { _, err := s.DeleteMerchant(t.Context(), "m", AllReplicas); return err }},
	}
	before := w.dump()
	stranger := w.other(keys)
	for _, tt := range writes {
		if err := tt.write(stranger.Store); !errors.Is(err, ErrForeign) {
			t.Errorf("%s with a foreign key file = %v, want %v", tt.name, err, ErrForeign)
		}
		w.unchanged(tt.name, before)
	}
	if err := w.Verifies(t.Context(), keys); !errors.Is(err, ErrForeign) {
		t.Errorf("Verifies of foreign keys = %v, want %v", err, ErrForeign)
	}
	if _, err := stranger.Read(t.Context(), secret.ID); !errors.Is(err, authz.RecordInvalid) {
		t.Errorf("Read with a foreign key file = %v, want %v", err, authz.RecordInvalid)
	}
	for _, tt := range writes {
		if err := tt.write(w.Store); err != nil {
			t.Errorf("control: %s = %v", tt.name, err)
		}
	}
}

// What stands in the epoch's place and is not ours is foreign, and not an
// empty store.
func refusesBrokenEpoch(t *testing.T, w *world) {
	w.made("m")
	good, err := w.client.Get(t.Context(), epochKey).Result()
	if err != nil {
		t.Fatal(err)
	}
	seal := func(r epochRecord) string {
		sealed, err := sealJSON(w.Keyring(), epochKey, r)
		if err != nil {
			t.Fatal(err)
		}
		return string(sealed)
	}
	elsewhere, err := sealJSON(w.Keyring(), secretKey("epoch"), epochRecord{Version: 1, Epoch: "X"})
	if err != nil {
		t.Fatal(err)
	}
	for _, stored := range []string{
		"", "\n", good[:len(good)-1], good[1:], good + "\n", string(elsewhere),
		seal(epochRecord{Version: 1}), seal(epochRecord{Epoch: "X"}), seal(epochRecord{Version: 2, Epoch: "X"}),
	} {
		if err := w.client.Set(t.Context(), epochKey, stored, 0).Err(); err != nil {
			t.Fatal(err)
		}
		if epoch, err := w.Epoch(t.Context()); !errors.Is(err, ErrForeign) || epoch != "" {
			t.Errorf("Epoch of %q = %q, %v, want %v", stored, epoch, err, ErrForeign)
		}
		if _, _, err := w.Create(t.Context(), some("m")); !errors.Is(err, ErrForeign) {
			t.Errorf("Create with epoch %q = %v, want %v", stored, err, ErrForeign)
		}
	}
	w.client.Del(t.Context(), epochKey)
	w.client.LPush(t.Context(), epochKey, good)
	if epoch, err := w.Epoch(t.Context()); err == nil || epoch != "" {
		t.Errorf("Epoch of another type = %q, %v, want an error", epoch, err)
	}
	w.client.Del(t.Context(), epochKey)
	w.client.Set(t.Context(), epochKey, good, 0)
	if w.epochOf() == "" {
		t.Error("control: the good epoch is not read")
	}
}
