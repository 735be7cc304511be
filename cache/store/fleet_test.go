package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/postern/postern/authz"
)

var fleetBehaviours = []behaviour{
	{"a sidecar is named until it must have stopped", names},
	{"a sidecar that leaves is not waited for", leaves},
	{"two sidecars of one name", sharesName},
	{"a damaged report is no sidecar", namesNoDamaged},
	{"a deletion waits for the sidecars", awaits},
	{"an emptied store is not begun anew", beginsNotAnew},
	{"a fleet that is away", namesAway},
}

// reports has a sidecar report, from now on for an hour.
func (w *world) reports(name, epoch string, applied Position) {
	w.t.Helper()
	r := Report{Name: name, Epoch: epoch, Applied: applied.String(), Bound: time.Hour}
	if _, err := w.Report(w.t.Context(), r, false); err != nil {
		w.t.Fatal(err)
	}
}

// fleet are the names of the sidecars.
func (w *world) fleet() []string {
	w.t.Helper()
	fleet, _, err := w.Fleet(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return namesOf(fleet)
}

func namesOf(fleet []Sidecar) []string {
	names := []string{}
	for _, s := range fleet {
		names = append(names, s.Name)
	}
	return names
}

func names(t *testing.T, w *world) {
	w.same("the first fleet", w.fleet(), nil)
	r := Report{Name: "brief", Catalog: "c", Applied: "1-2", Epoch: "e", Bound: 200 * time.Millisecond}
	before := time.Now()
	if _, err := w.Report(t.Context(), r, false); err != nil {
		t.Fatal(err)
	}
	fleet, now, err := w.Fleet(t.Context())
	if err != nil || len(fleet) != 1 || fleet[0].Report != r {
		t.Fatalf("Fleet = %+v, %v, want %+v", fleet, err, r)
	}
	s := fleet[0]
	if s.Seen.Before(before.Truncate(time.Microsecond)) || s.Seen.After(now) || s.stoppedBy() != s.Seen.Add(r.Bound) || !now.Before(s.stoppedBy()) {
		t.Errorf("seen %v, stopped by %v, now %v, want them from %v on, %v apart", s.Seen, s.stoppedBy(), now, before, r.Bound)
	}
	w.reports("lasting", "", Position{})
	w.same("the fleet", w.fleet(), []string{"brief", "lasting"})
	time.Sleep(time.Until(s.stoppedBy()))
	w.same("the fleet later", w.fleet(), []string{"lasting"})
	if _, err := w.Report(t.Context(), r, false); err != nil {
		t.Fatal(err)
	}
	w.same("the fleet, it reports again", w.fleet(), []string{"brief", "lasting"})
}

// Of two processes with one name, the second takes it over, and the first is
// told when it reports again. Neither ends the other's.
func sharesName(t *testing.T, w *world) {
	report := func(instance string, anew bool) error {
		_, err := w.Report(t.Context(), Report{Name: "n", Instance: instance, Anew: anew, Bound: time.Hour}, false)
		return err
	}
	for _, step := range []struct {
		instance string
		anew     bool
		want     error
	}{
		{"FIRST", true, nil}, {"FIRST", false, nil}, {"SECOND", true, nil}, {"FIRST", false, ErrNameTaken}, {"SECOND", false, nil},
	} {
		if err := report(step.instance, step.anew); !errors.Is(err, step.want) {
			t.Errorf("report of %s, anew %v: %v, want %v", step.instance, step.anew, err, step.want)
		}
	}
	for _, leave := range []struct {
		instance string
		left     []string
	}{{"FIRST", []string{"n"}}, {"SECOND", nil}} {
		if err := w.Leave(t.Context(), "n", leave.instance); err != nil {
			t.Errorf("Leave: %v", err)
		}
		w.same("the fleet that "+leave.instance+" has left", w.fleet(), leave.left)
	}
	if err := report("SECOND", false); err != nil {
		t.Errorf("report by a name that was forgotten: %v", err)
	}
}

func leaves(t *testing.T, w *world) {
	w.reports("a", "", Position{})
	w.reports("b", "", Position{})
	for range 2 {
		if err := w.Leave(t.Context(), "a", ""); err != nil {
			t.Errorf("Leave: %v", err)
		}
		w.same("the fleet that one has left", w.fleet(), []string{"b"})
	}
}

func namesNoDamaged(t *testing.T, w *world) {
	w.reports("good", "", Position{})
	good, err := w.client.HGet(t.Context(), fleetKey, "good").Result()
	if err != nil {
		t.Fatal(err)
	}
	_, report, _ := strings.Cut(good, " ")
	stale := fmt.Sprint(time.Now().Add(-3*time.Hour).UnixMicro(), " ", report)
	for name, text := range map[string]string{
		"empty": "", "no time": report, "bad time": "x " + report, "cut": good[:len(good)/2], "no report": strings.Fields(good)[0],
		"another's": good, "no bound": strings.Replace(strings.Replace(good, "good", "no bound", 1), fmt.Sprint(int64(time.Hour)), "0", 1),
		"negative": strings.Replace(strings.Replace(good, "good", "negative", 1), fmt.Sprint(int64(time.Hour)), "-1", 1),
		"list":     strings.Fields(good)[0] + " []", "long gone": strings.Replace(stale, "good", "long gone", 1),
	} {
		w.client.HSet(t.Context(), fleetKey, name, text)
		w.same("the fleet with a report "+name, w.fleet(), []string{"good"})
		if left, err := w.client.HExists(t.Context(), fleetKey, name).Result(); left || err != nil {
			t.Errorf("the report %s is there still (%v): want it forgotten", name, err)
		}
	}
	recent := strings.Replace(fmt.Sprint(time.Now().Add(-90*time.Minute).UnixMicro(), " ", report), "good", "recent", 1)
	w.client.HSet(t.Context(), fleetKey, "recent", recent)
	w.same("the fleet with one that stopped half an hour ago", w.fleet(), []string{"good"})
	if left, err := w.client.HExists(t.Context(), fleetKey, "recent").Result(); !left || err != nil {
		t.Errorf("control: the report of one that stopped half an hour ago is forgotten (%v)", err)
	}
}

func awaits(t *testing.T, w *world) {
	_, secret := w.made("m")
	deletion, err := w.Delete(t.Context(), secret.ID, AllReplicas)
	if err != nil {
		t.Fatal(err)
	}
	wait := func(what string, wantApplied, wantLate []string) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		begun := time.Now()
		applied, late, err := w.AwaitApplied(ctx, deletion.Announced)
		if err != nil {
			t.Errorf("%s: AwaitApplied: %v", what, err)
		}
		w.same(what+": applied", namesOf(applied), wantApplied)
		w.same(what+": late", namesOf(late), wantLate)
		if waited := time.Since(begun) >= 40*time.Millisecond; len(wantLate) > 0 && !waited {
			t.Errorf("%s: AwaitApplied took %v, want about 50ms", what, time.Since(begun))
		}
	}
	wait("no sidecar", nil, nil)
	epoch := w.epochOf()
	w.reports("early", epoch, Position{})
	w.reports("exact", epoch, deletion.Announced)
	w.reports("ahead", epoch, Position{deletion.Announced.millis + 1, 0})
	w.reports("of another store", "other", Position{deletion.Announced.millis + 1, 0})
	if _, err := w.Report(t.Context(), Report{Name: "new", Bound: time.Hour}, false); err != nil {
		t.Fatal(err)
	}
	wait("two are behind", []string{"ahead", "exact"}, []string{"early", "new", "of another store"})
	w.reports("new", epoch, deletion.Announced)
	w.reports("of another store", epoch, deletion.Announced)
	time.AfterFunc(10*time.Millisecond, func() { _ = w.Leave(context.Background(), "early", "") }) // the wait tells
	ctx, cancel := context.WithTimeout(t.Context(), patient)
	defer cancel()
	if applied, late, err := w.AwaitApplied(ctx, deletion.Announced); err != nil || len(applied) != 4 || len(late) != 0 {
		t.Errorf("AwaitApplied while the last one leaves = %v, %v, %v, want four that have", applied, late, err)
	}
}

// Every first write is refused while a sidecar runs that knew the store, and
// what is not there is not said to be missing. When it has stopped, the store is
// begun anew.
func beginsNotAnew(t *testing.T, w *world) {
	_, lost := w.made("m")
	epoch := w.epochOf()
	for _, s := range w.masters {
		s.Do("FLUSHALL")
	}
	w.reports("knows", epoch, Position{})
	before := w.dump()
	_, _, create := w.Create(t.Context(), some("m"))
	_, _, legacy := w.CreateLegacy(t.Context(), legacySecret("m"))
	_, imported := w.Import(t.Context(), some("m"), [32]byte{1})
	_, deleted := w.Delete(t.Context(), lost.ID, 0)
	_, closed := w.DeleteMerchant(t.Context(), "m", 0)
	_, read := w.Read(t.Context(), lost.ID)
	_, _, list := w.List(t.Context(), "m")
	for what, err := range map[string]error{
		"create": create, "create legacy": legacy, "import": imported, "save catalog": w.SaveCatalog(t.Context(), &authz.Catalog{}),
		"delete": deleted, "delete merchant": closed, "read": read, "list": list,
		"retire": w.Retire(t.Context(), w.Keyring().KeyIDs()[0], w.Keyring()),
	} {
		if !errors.Is(err, errEmptied) {
			t.Errorf("%s in an emptied store: %v, want %v", what, err, errEmptied)
		}
	}
	w.unchanged("a refusal", before)
	if err := w.Leave(t.Context(), "knows", ""); err != nil {
		t.Fatal(err)
	}
	w.reports("new", "", Position{}) // knows of no epoch
	w.made("m")
	if got := w.epochOf(); got == "" || got == epoch {
		t.Errorf("Epoch = %q, want another than %q", got, epoch)
	}
}

func namesAway(t *testing.T, w *world) {
	w.meddle(crash(1, false))
	defer w.meddle(nil)
	_, _, fleet := w.Fleet(t.Context())
	_, report := w.Report(t.Context(), Report{Name: "a", Bound: time.Hour}, false)
	_, _, awaited := w.AwaitApplied(t.Context(), Position{})
	for _, err := range []error{fleet, report, awaited, w.Leave(t.Context(), "a", "")} {
		if !errors.Is(err, authz.StoreUnavailable) {
			t.Errorf("a fleet that is away: %v, want %v", err, authz.StoreUnavailable)
		}
	}
	w.meddle(crash(2, false))
	if _, _, err := w.Fleet(t.Context()); !errors.Is(err, authz.StoreUnavailable) {
		t.Errorf("Fleet where Redis's time is not to be had = %v, want %v", err, authz.StoreUnavailable)
	}
}
