package authz

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"slices"
	"strings"
	"testing"
)

func newTestKeyring(t testing.TB, prefix string) *Keyring {
	t.Helper()
	k, err := NewKeyring(prefix)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestMint(t *testing.T) {
	for _, prefix := range []string{"", "shp_live_"} {
		k := newTestKeyring(t, prefix)
		token, digest, err := k.Mint()
		if err != nil {
			t.Fatal(err)
		}
		if form := regexp.MustCompile("^" + prefix + "[A-Za-z0-9_-]{21}[AQgw][A-Za-z0-9_-]{6}$"); !form.MatchString(token.Reveal()) {
			t.Errorf("token of %d bytes does not match %v", len(token.Reveal()), form)
		}
		if form := regexp.MustCompile("^" + prefix + `[A-Za-z0-9_-]{4}\*{14}[A-Za-z0-9_-]{4}$`); !form.MatchString(k.Redact(token)) {
			t.Errorf("redacted %q does not match %v", k.Redact(token), form)
		}
		lookup, reason := k.Lookup(token)
		if reason != Undecided || !lookup.Minted || len(lookup.Others) != 0 || lookup.Digest != digest {
			t.Errorf("Lookup = %v, %v, want the digest that it was minted with", lookup, reason)
		}
	}
}

// TestEveryByteCounts changes each byte of a token in turn.
// A keyring without keys knows nothing of any token: that is no denial.
func TestEmptyKeyring(t *testing.T) {
	token, _, err := newTestKeyring(t, "").Mint()
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{token.Reveal(), "minted-elsewhere"} {
		token, _ := ParseToken(text)
		if _, reason := new(Keyring).Lookup(token); reason != Internal {
			t.Errorf("Lookup of %v without keys = %v, want %v", token, reason, Internal)
		}
	}
}

func TestEveryByteCounts(t *testing.T) {
	k := newTestKeyring(t, "shp_")
	token, _, _ := k.Mint()
	for i := len("shp_"); i < len(token.Reveal()); i++ {
		for _, b := range []byte("AQgw-_0z") {
			text := token.Reveal()[:i] + string(b) + token.Reveal()[i+1:]
			if text == token.Reveal() {
				continue
			}
			changed, _ := ParseToken(text)
			if lookup, reason := k.Lookup(changed); reason != Unknown {
				t.Errorf("byte %d changed to %c: %v, %v, want unknown", i, b, lookup, reason)
			}
		}
	}
}

func TestLookupOfForeignTokens(t *testing.T) {
	k := newTestKeyring(t, "shp_")
	k, err := k.Add()
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]struct {
		reason  Reason
		digests int
	}{
		"shp_" + strings.Repeat("A", 28):       {Unknown, 0},   // our form, wrong check
		"shp_" + strings.Repeat("A", 27):       {Undecided, 2}, // not our form
		strings.Repeat("A", 28):                {Undecided, 2}, // without the prefix
		"shp_" + strings.Repeat("A", 27) + ".": {Undecided, 2},
	} {
		token, _ := ParseToken(text)
		lookup, reason := k.Lookup(token)
		digests := slices.DeleteFunc(lookup.All(), func(d Digest) bool { return d == Digest{} })
		if reason != want.reason || len(digests) != want.digests || lookup.Minted {
			t.Errorf("%s: %d digests, minted %v, %v, want %d digests and %v", text, len(digests), lookup.Minted, reason, want.digests, want.reason)
		}
	}
}

func TestKeyRotation(t *testing.T) {
	first := newTestKeyring(t, "")
	old, _, _ := first.Mint()
	added, err := first.Add()
	if err != nil {
		t.Fatal(err)
	}
	if got := added.KeyIDs(); len(got) != 2 || got[0] != first.KeyIDs()[0] {
		t.Fatalf("added: keys %v, want the first to mint still", got)
	}
	promoted, err := added.Promote(added.KeyIDs()[1])
	if err != nil {
		t.Fatal(err)
	}
	fresh, _, _ := promoted.Mint()
	retired, err := promoted.Retire(first.KeyIDs()[0])
	if err != nil {
		t.Fatal(err)
	}
	verifies := func(k *Keyring, token Token) bool { lookup, _ := k.Lookup(token); return lookup.Minted }
	for name, tt := range map[string]struct{ got, want bool }{
		"old token, key added":          {verifies(added, old), true},
		"new token, key added":          {verifies(added, fresh), true},
		"old token, new key promoted":   {verifies(promoted, old), true},
		"old token, old key retired":    {verifies(retired, old), false},
		"new token, old key retired":    {verifies(retired, fresh), true},
		"new token, key not yet spread": {verifies(first, fresh), false},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: verifies %v, want %v", name, tt.got, tt.want)
		}
	}
	if _, err := promoted.Retire(promoted.KeyIDs()[0]); err == nil {
		t.Error("the minting key retires: want a refusal")
	}
	for _, change := range []func(string) (*Keyring, error){added.Promote, added.Retire} {
		if _, err := change("nope"); err == nil || !strings.Contains(err.Error(), added.KeyIDs()[1]) {
			t.Errorf("a key that is not there: %v, want an error that names those that are", err)
		}
	}
}

func TestSeal(t *testing.T) {
	k := newTestKeyring(t, "")
	seal, err := k.Seal("name", []byte("value"))
	if err != nil {
		t.Fatal(err)
	}
	other := newTestKeyring(t, "")
	for name, ok := range map[string]bool{
		"as sealed":       second(k.Verify("name", []byte("value"), seal)),
		"another name":    !second(k.Verify("nam", []byte("evalue"), seal)),
		"another value":   !second(k.Verify("name", []byte("valuf"), seal)),
		"another keyring": !second(other.Verify("name", []byte("value"), seal)),
		"no seal":         !second(k.Verify("name", []byte("value"), "")),
		"only the id":     !second(k.Verify("name", []byte("value"), k.KeyIDs()[0]+".")),
		"shortened":       !second(k.Verify("name", []byte("value"), seal[:len(seal)-1])),
	} {
		if !ok {
			t.Errorf("%s: Verify says otherwise", name)
		}
	}
}

func second(_ string, ok bool) bool { return ok }

func TestParseKeyring(t *testing.T) {
	k := newTestKeyring(t, "shp_")
	good, err := json.Marshal(k)
	if err != nil {
		t.Fatal(err)
	}
	again, err := ParseKeyring(good)
	if err != nil || again.KeyIDs()[0] != k.KeyIDs()[0] || again.Prefix() != "shp_" {
		t.Fatalf("ParseKeyring of a key file = %v, %v, want the same keyring", again, err)
	}
	key := regexp.MustCompile(`"key":"[^"]+"`).FindString(string(good))
	tests := map[string]string{
		"empty":          "",
		"not JSON":       "prefix: shp_",
		"newer version":  strings.Replace(string(good), `"version":1`, `"version":2`, 1),
		"unknown member": strings.Replace(string(good), `"version"`, `"colour":1,"version"`, 1),
		"no keys":        `{"version":1,"prefix":"","keys":[]}`,
		"short key":      strings.Replace(string(good), key, `"key":"AAAA"`, 1),
		"other key":      strings.Replace(string(good), key, `"key":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="`, 1),
		"key twice":      strings.Replace(string(good), `}]`, `},{"id":"`+k.KeyIDs()[0]+`",`+key+`}]`, 1),
		"bad prefix":     strings.Replace(string(good), "shp_", "shp-", 1),
		"two documents":  string(good) + string(good),
	}
	for name, text := range tests {
		if got, err := ParseKeyring([]byte(text)); err == nil {
			t.Errorf("%s: %v, want an error", name, got.KeyIDs())
		} else if strings.Contains(err.Error(), strings.Split(key, `"`)[3]) {
			t.Errorf("%s: the error shows the key", name)
		}
	}
	for _, prefix := range []string{"a-b", "é", strings.Repeat("a", 17), "a b"} {
		if _, err := NewKeyring(prefix); err == nil {
			t.Errorf("prefix %q is taken: want a refusal", prefix)
		}
	}
}

func TestTokenDoesNotPrint(t *testing.T) {
	token, _, _ := newTestKeyring(t, "").Mint()
	var log strings.Builder
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", slog.Any("token", token), slog.Any("in", struct{ T Token }{token}))
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", slog.Any("token", token), slog.Any("in", struct{ T Token }{token}))
	encoded, _ := json.Marshal(map[string]any{"t": token})
	for _, format := range []string{"%v", "%s", "%q", "%+v", "%#v", "%x", "%d"} {
		fmt.Fprintf(&log, format, token)
		fmt.Fprintf(&log, format, struct{ t Token }{token})
		fmt.Fprintf(&log, format, &token)
	}
	log.Write(encoded)
	for _, shown := range []string{token.Reveal(), fmt.Sprintf("%x", token.Reveal()), token.Reveal()[:12]} {
		if strings.Contains(log.String(), shown) {
			t.Errorf("the token prints: %s", log.String())
		}
	}
}

func TestParseBearer(t *testing.T) {
	token := "abcdefghijklmnop"
	tests := map[string]Reason{
		"": NoSecret, "Bearer " + token: Undecided, "bearer " + token: Undecided, "BEARER   " + token: Undecided,
		"Bearer " + token + " ": Malformed, " Bearer " + token: Malformed, "Bearer": Malformed, "Bearer ": Malformed,
		"Bearer\t" + token: Malformed, "Bearer" + token: Malformed, "Basic " + token: Malformed, token: Malformed,
		"Bearer " + token + "," + token: Malformed, "Bearer " + token + "\x00": Malformed, "Bearer " + token + "é": Malformed,
		"Bearer " + token[:15]: Malformed, "Bearer " + strings.Repeat("a", 128): Undecided, "Bearer " + strings.Repeat("a", 129): Malformed,
		"Bearer " + "._~+/=-" + token: Undecided, "Bearer \"" + token + "\"": Malformed,
	}
	for field, want := range tests {
		if _, got := ParseBearer(field); got != want {
			t.Errorf("ParseBearer(%q) = %v, want %v", field, got, want)
		}
	}
}

func FuzzParseBearer(f *testing.F) {
	for _, seed := range []string{"Bearer abcdefghijklmnop", "bearer  x", "Basic a", "Bearer a,Bearer b", "Bearer\x00"} {
		f.Add(seed)
	}
	k := newTestKeyring(f, "shp_")
	f.Fuzz(func(t *testing.T, field string) {
		token, reason := ParseBearer(field)
		if reason != Undecided {
			return
		}
		if text := token.Reveal(); !strings.HasSuffix(field, " "+text) || strings.ContainsAny(text, " ,\t\"") || len(text) < 16 || len(text) > 128 {
			t.Errorf("ParseBearer(%q) took %q", field, text)
		}
		if lookup, _ := k.Lookup(token); lookup.Minted {
			t.Errorf("ParseBearer(%q) was minted under a key that minted nothing", field)
		}
	})
}

func FuzzParseKeyring(f *testing.F) {
	good, _ := json.Marshal(newTestKeyring(f, "shp_"))
	f.Add(good)
	f.Add([]byte(`{"version":1,"keys":[{}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if k, err := ParseKeyring(data); err == nil {
			if _, _, err := k.Mint(); err != nil {
				t.Errorf("ParseKeyring took a keyring that cannot mint: %v", err)
			}
		}
	})
}
