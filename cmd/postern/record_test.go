package main

import (
	"strings"
	"testing"

	"github.com/postern/postern/authz"
)

// damage is what a bad record is made of.
type damage struct {
	json  string              // of the good record
	seal  func(string) string // makes it a record, as a writer with the key file could
	alien func(string) string // likewise, with another key file
	other string              // the record of another secret
}

// badRecords are records that cannot be used.
var badRecords = []struct {
	name string
	make func(damage) string
	text string // that says what is wrong
}{
	{"empty", func(damage) string { return "" }, "is truncated or was never a record of ours"},
	{"no record", func(damage) string { return "hello" }, "is truncated or was never a record of ours"},
	{"truncated", func(d damage) string { return d.json[:len(d.json)/2] }, "is truncated or was never a record of ours"},
	{"truncated in the MAC", func(d damage) string { return d.seal(d.json)[:len(d.json)+20] }, "has no MAC by a key of ours: it was changed, moved, or sealed under a key that is not here"},
	{"without a MAC", func(d damage) string { return d.json + "\n" }, "has no MAC by a key of ours"},
	{"changed", func(d damage) string { return strings.Replace(d.seal(d.json), `"m1"`, `"m2"`, 1) }, "has no MAC by a key of ours"},
	{"made unrestricted", func(d damage) string {
		return strings.Replace(d.seal(d.json), `"grants"`, `"unrestricted":true,"grants"`, 1)
	}, "has no MAC by a key of ours"},
	{"moved from another key", func(d damage) string { return d.other }, "has no MAC by a key of ours: it was changed, moved"},
	{"sealed under another key", func(d damage) string { return d.alien(d.json) }, "sealed under a key that is not here"},
	{"no JSON", func(d damage) string { return d.seal("hello") }, "decode postern:secret:"},
	{"newer version", resealed(`"version":1`, `"version":2`), "its version is 2, and this program reads version 1: upgrade it"},
	{"newer version with a new member", resealed(`"version":1`, `"version":2,"hours":"9-17"`), "its version is 2, and this program reads version 1: upgrade it"},
	{"another id", resealed(`"id":"`, `"id":"0`), "it is the record of"},
	{"no merchant", resealed(`"merchant":"m1"`, `"merchant":""`), "it names no merchant"},
	{"unknown member", resealed(`"grants"`, `"other"`), "unknown field"},
	{"neither legacy nor granted", func(d damage) string {
		before, _, _ := strings.Cut(d.json, `,"grants"`)
		return d.seal(before + "}")
	}, "it is neither a legacy secret nor one with grants"},
	{"legacy and granted", resealed(`"grants"`, `"unrestricted":true,"grants"`), "it is neither a legacy secret nor one with grants"},
}

// resealed changes the JSON before it is sealed.
func resealed(old, next string) func(damage) string {
	return func(d damage) string { return d.seal(strings.Replace(d.json, old, next, 1)) }
}

// sealer seals JSON as the record of a secret, under a key file.
func (s *shell) sealer(keyFile, id string) func(string) string {
	return func(json string) string {
		keys, err := authz.ParseKeyring([]byte(s.read(keyFile)))
		if err != nil {
			s.t.Fatal(err)
		}
		seal, err := keys.Seal("postern:secret:"+id, []byte(json))
		if err != nil {
			s.t.Fatal(err)
		}
		return json + "\n" + seal
	}
}

// spoil puts a bad record in the place of a secret's.
func (s *shell) spoil(id, other string, make func(damage) string) {
	s.t.Helper()
	name := "postern:secret:"
	json, _, _ := strings.Cut(s.ask("GET", name+id), "\n")
	s.ask("SET", name+id, make(damage{json, s.sealer(s.keys, id), s.sealer(s.dir+"/other.json", id), s.ask("GET", name+other)}))
}

// A record that cannot be used makes its own secret 503, with the reason, and
// no other. It can still be deleted.
func TestBadRecord(t *testing.T) {
	s := newShell(t)
	s.ok("key new $DIR/other.json")
	good := s.create("--permission getOrder")
	for _, tt := range badRecords {
		f := s.create("--permission getOrder")
		s.spoil(f.ID, good.ID, tt.make)
		s.refused(s.run("secret show", f.ID), "secret "+f.ID, tt.text, "delete it and make another")
		s.refused(s.run("secret rotate", f.ID), "secret "+f.ID, tt.text)
		if r := s.run("secret list --merchant m1"); r.code != exitDone || !strings.Contains(r.stderr, f.ID) || !strings.Contains(r.stderr, tt.text) || !strings.Contains(r.stdout, good.ID) {
			t.Errorf("%s: secret list = exit %d, %s%s, want the good ones, and the id and %q on stderr", tt.name, r.code, r.stdout, r.stderr, tt.text)
		}
		form := s.decides(f.Secret, "GET /api/3/orders/1", "error", "record_invalid")
		if text := strings.Join(form.Explanation, " "); form.Status != 503 || !strings.Contains(text, tt.text) {
			t.Errorf("%s: check = %d, %q, want 503 and %q", tt.name, form.Status, text, tt.text)
		}
		g := s.serve("")
		g.answers(f.Secret, "GET /api/3/orders/1", 503, "record_invalid")
		g.answers(good.Secret, "GET /api/3/orders/1/label", 403, "not_granted")
		g.showsMetric("postern_records_invalid_total 1")
		if log := g.log.String(); !strings.Contains(log, f.ID) || !strings.Contains(log, tt.text) {
			t.Errorf("%s: the log lacks the id or %q", tt.name, tt.text)
		}
		s.ok("secret delete", f.ID)
		s.decides(f.Secret, "GET /api/3/orders/1", "deny", "deleted")
		g.answers(f.Secret, "GET /api/3/orders/1", 401, "deleted")
		g.ends()
	}
}

// A secret that was minted here, and that the store has lost, is not unknown.
func TestLostRecord(t *testing.T) {
	s := newShell(t)
	lost := s.create("--permission getOrder")
	g := s.serve("")
	s.ask("DEL", "postern:secret:"+lost.ID)
	s.decides(lost.Secret, "GET /api/3/orders/1", "error", "record_missing")
	g.answers(lost.Secret, "GET /api/3/orders/1", 503, "record_missing")
	g.showsMetric("postern_records_missing_total 1")
	s.refused(s.run("secret show", lost.ID), "there is no secret "+lost.ID)
	s.refused(s.run("secret delete", lost.ID), "there is no secret "+lost.ID)
}

// A record of another type is that record's fault, and not the store's.
func TestRecordOfAnotherType(t *testing.T) {
	s := newShell(t)
	f := s.create("--permission getOrder")
	s.ask("DEL", "postern:secret:"+f.ID)
	s.ask("RPUSH", "postern:secret:"+f.ID, "x")
	s.refused(s.run("secret show", f.ID), f.ID, "WRONGTYPE")
	g := s.serve("")
	g.answers(f.Secret, "GET /api/3/orders/1", 503, "record_invalid")
	s.ok("secret delete", f.ID)
	g.answers(f.Secret, "GET /api/3/orders/1", 401, "deleted")
}
