package store

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

var keyBehaviours = []behaviour{
	{"a key is retired when no live secret needs it", retires},
	{"a newer program's record needs its key", retiresNotUnderNewer},
	{"a key is not retired when a master does not answer", retiresNotBlindly},
}

// promoted is a keyring with a fresh key that mints, and the old ones.
func promoted(t *testing.T, keys *authz.Keyring) *authz.Keyring {
	t.Helper()
	next, err := keys.Add()
	if err == nil {
		ids := next.KeyIDs()
		next, err = next.Promote(ids[len(ids)-1])
	}
	if err != nil {
		t.Fatal(err)
	}
	return next
}

func retires(t *testing.T, w *world) {
	old := w.Keyring().KeyIDs()[0]
	var ids []string
	for i := range 30 {
		_, secret := w.made(fmt.Sprint("m-", i))
		ids = append(ids, secret.ID)
	}
	imported, err := w.Import(t.Context(), some("m-1"), sha256.Sum256([]byte("token")))
	if err != nil {
		t.Fatal(err)
	}
	ids = append(ids, imported.ID)
	expired := some("m-0")
	expired.ExpiresAt = time.Now().Add(-time.Second)
	if _, _, err := w.Create(t.Context(), expired); err != nil {
		t.Fatal(err)
	}
	w.everyMasterHasRecords()
	w.SetKeyring(promoted(t, w.Keyring()))
	w.made("later")
	without, err := w.Keyring().Retire(old)
	if err != nil {
		t.Fatal(err)
	}
	epoch := w.epochOf()
	for n := len(ids); n > 0; n-- {
		if n == len(ids) || n <= 3 {
			before := w.dump()
			want := fmt.Sprintf("is needed by %d live secrets", n)
			if err := w.Retire(t.Context(), old, without); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Retire = %v, want one with %q", err, want)
			}
			w.unchanged("a refusal to retire", before)
		}
		if _, err := w.Delete(t.Context(), ids[n-1], AllReplicas); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Verifies(t.Context(), without); !errors.Is(err, ErrForeign) {
		t.Errorf("before: Verifies without the key = %v, want %v", err, ErrForeign)
	}
	for range 2 { // again, after a death before the key file was written
		if err := w.Retire(t.Context(), old, without); err != nil {
			t.Fatal(err)
		}
	}
	w.SetKeyring(without)
	if got := w.epochOf(); got != epoch {
		t.Errorf("Epoch after the retirement = %q, want %q as before", got, epoch)
	}
	w.made("latest")
}

// everyMasterHasRecords demands that a count has to ask every master.
func (w *world) everyMasterHasRecords() {
	w.t.Helper()
	for _, s := range w.masters {
		if len(s.Do("KEYS", secretKey("*")).([]any)) == 0 {
			w.t.Fatalf("%s has no records: this test shows nothing", s.Addr)
		}
	}
}

func retiresNotUnderNewer(t *testing.T, w *world) {
	old, id := w.Keyring().KeyIDs()[0], "0123456789abcdef0123456789abcdef"
	if err := w.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	sealed, err := sealJSON(w.Keyring(), secretKey(id), map[string]any{"version": 2, "id": id})
	if err != nil {
		t.Fatal(err)
	}
	w.client.Set(t.Context(), secretKey(id), sealed, 0)
	w.client.Set(t.Context(), secretKey("spoilt"), "spoilt", 0)
	w.client.LPush(t.Context(), secretKey("list"), "item")
	w.SetKeyring(promoted(t, w.Keyring()))
	without, err := w.Keyring().Retire(old)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Retire(t.Context(), old, without); err == nil || !strings.Contains(err.Error(), "needed by 1 live") {
		t.Errorf("Retire of a newer program's key = %v, want a refusal", err)
	}
	w.client.Del(t.Context(), secretKey(id))
	if err := w.Retire(t.Context(), old, without); err != nil {
		t.Errorf("control: Retire = %v", err)
	}
}

func retiresNotBlindly(t *testing.T, w *world) {
	old := w.Keyring().KeyIDs()[0]
	for i := range 50 { // ids are random: of ten, each 50th run would leave a master without one
		_, secret := w.made(fmt.Sprint("m-", i))
		if _, err := w.Delete(t.Context(), secret.ID, AllReplicas); err != nil {
			t.Fatal(err)
		}
	}
	w.everyMasterHasRecords()
	w.SetKeyring(promoted(t, w.Keyring()))
	without, err := w.Keyring().Retire(old)
	if err != nil {
		t.Fatal(err)
	}
	last := w.masters[len(w.masters)-1]
	for _, forbidden := range []string{"scan", "get"} {
		last.Do("ACL", "SETUSER", "default", "-"+forbidden)
		err := w.Retire(t.Context(), old, without)
		last.Do("ACL", "SETUSER", "default", "+"+forbidden)
		if !errors.Is(err, authz.StoreUnavailable) {
			t.Errorf("Retire with a master that refuses %s = %v, want %v", forbidden, err, authz.StoreUnavailable)
		}
	}
	if err := w.Retire(t.Context(), old, without); err != nil {
		t.Errorf("control: Retire when it answers = %v", err)
	}
}
