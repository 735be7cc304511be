package envoy_test

import (
	"cmp"
	"crypto/sha256"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/authz/openapi"
	"github.com/postern/postern/cache"
	"github.com/postern/postern/cache/store"
	"github.com/postern/postern/cache/store/storetest"
	"github.com/postern/postern/envoy"
	"github.com/postern/postern/envoy/trace"
)

// importedToken is a token that was minted elsewhere.
const importedToken = "partner-token-0123456789"

// world is a store with a secret for each {name} in the table.
type world struct {
	catalog *authz.Catalog
	keys    *authz.Keyring
	store   *store.Store
	tokens  map[string]string
	secrets map[authz.Digest]*authz.Secret // what the store holds, by digest
	redis   *storetest.Server

	protocols *http.Protocols // of ask; nil: HTTP/1.1

	filter envoy.FilterOptions           // of gates that serve from now on
	traces *trace.Exporter               // of newGate's; nil: none
	gate   *envoy.Gate                   // that serves, after serve
	server *grpc.Server                  // of gate
	next   atomic.Pointer[authz.Catalog] // what catalog was replaced with while it serves, or nil
}

// drafts are the secrets with grants as the catalog has them.
var drafts = map[string][]string{
	"office":    {"getMerchant", "updateMerchant"},
	"deleted":   {"getMerchant"},
	"orders":    {"trackOrder", "getOrder+shipping_price", "cancelOrder+shipping_price"},
	"search":    {"searchOrders+shipping_price"},
	"documents": {"getOrderDocument", "getBookDocument"},
	"returns":   {"getReturn+shipping_price"},
	"both":      {"getReturn+shipping_price", "getOrderLabel+shipping_price"},
	"label":     {"getOrderLabel"},
	"cancel":    {"cancelOrder"},
}

func newWorld(t testing.TB) *world {
	t.Helper()
	catalog := exampleCatalog(t)
	keys, err := authz.NewKeyring("pt_")
	must(t, err)
	server := storetest.Redis(t)
	client, err := store.Connect(store.Options{URL: server.URL(), Timeout: time.Second})
	must(t, err)
	t.Cleanup(func() { client.Close() })
	w := &world{
		catalog: catalog, keys: keys, store: store.New(client, keys), redis: server,
		tokens: map[string]string{}, secrets: map[authz.Digest]*authz.Secret{},
	}
	for name, permissions := range drafts {
		w.add(t, name, w.draft(t, permissions...))
	}
	w.addOthers(t)
	return w
}

// exampleCatalog is the example catalog with texts replaced, in turn.
func exampleCatalog(t testing.TB, edits ...string) *authz.Catalog {
	t.Helper()
	data, err := os.ReadFile("../deploy/catalog.yaml")
	must(t, err)
	for i := 0; i < len(edits); i += 2 {
		if strings.Count(string(data), edits[i]) != 1 {
			t.Fatalf("the catalog holds %q %d times: want it once", edits[i], strings.Count(string(data), edits[i]))
		}
	}
	catalog, err := openapi.Load([]byte(strings.NewReplacer(edits...).Replace(string(data))))
	must(t, err)
	return catalog
}

func (w *world) draft(t testing.TB, permissions ...string) authz.Secret {
	t.Helper()
	d := authz.Draft{Merchant: "m-1", Description: "for a test"}
	for _, p := range permissions {
		d.Permissions = append(d.Permissions, authz.ParseChoice(p))
	}
	secret, err := d.Secret(w.catalog, time.Now())
	must(t, err)
	return secret
}

func (w *world) add(t testing.TB, name string, secret authz.Secret) *authz.Secret {
	t.Helper()
	token, stored, err := w.store.Create(t.Context(), secret)
	must(t, err)
	w.keep(t, name, token, stored)
	return stored
}

func (w *world) keep(t testing.TB, name string, token authz.Token, s *authz.Secret) {
	t.Helper()
	lookup, reason := w.keys.Lookup(token)
	if reason != authz.Undecided {
		t.Fatalf("look up the token of %s: %v", name, reason)
	}
	w.tokens[name], w.secrets[lookup.Digest] = token.Reveal(), s
}

// addOthers adds the secrets that are not plain drafts.
func (w *world) addOthers(t testing.TB) {
	t.Helper()
	token, legacy, err := w.store.CreateLegacy(t.Context(), authz.Secret{Merchant: "m-1", Unrestricted: true, CreatedAt: time.Now()})
	must(t, err)
	w.keep(t, "legacy", token, legacy)

	near := w.draft(t, "getMerchant")
	near.AllowIPs, err = authz.ParseAllowIPs([]string{"127.0.0.2", "127.0.1.0/24", "2001:db8::/32"})
	must(t, err)
	w.add(t, "near", near)

	expired, lasting := w.draft(t, "getMerchant"), w.draft(t, "getMerchant")
	expired.ExpiresAt, lasting.ExpiresAt = time.Now().Add(-time.Second), time.Now().Add(time.Hour)
	w.add(t, "expired", expired)
	w.add(t, "lasting", lasting)

	moved := w.draft(t, "getMerchant")
	moved.Grants[0].Endpoints[0].Path = "/api/3/account"
	w.add(t, "moved", moved)
	old := w.draft(t, "getOrderLabel+shipping_price")
	old.Grants[0].Endpoints[0].Groups = map[string][]string{"shipping_price": {"$.response.order.cost"}}
	w.add(t, "old", old)

	w.addImported(t)
	w.addGone(t)
}

func (w *world) addImported(t testing.TB) {
	t.Helper()
	stored, err := w.store.Import(t.Context(), w.draft(t, "getMerchant"), sha256.Sum256([]byte(importedToken)))
	must(t, err)
	token, _ := authz.ParseToken(importedToken)
	w.keep(t, "imported", token, stored)
}

// addGone adds the tokens that no live record stands behind.
func (w *world) addGone(t testing.TB) {
	t.Helper()
	for digest, s := range w.secrets {
		if w.idOf(t, "deleted") == s.ID {
			tombstone, err := w.store.Delete(t.Context(), s.ID, store.AllReplicas)
			must(t, err)
			w.secrets[digest] = tombstone.Tombstones[0]
		}
	}
	lost, _, err := w.keys.Mint()
	must(t, err)
	w.tokens["lost"] = lost.Reveal()
	w.tokens["mistyped"] = swapCase(w.tokens["office"])
}

func (w *world) idOf(t testing.TB, name string) string {
	t.Helper()
	token, _ := authz.ParseToken(w.tokens[name])
	lookup, reason := w.keys.Lookup(token)
	if reason != authz.Undecided {
		t.Fatalf("look up the token of %s: %v", name, reason)
	}
	return lookup.Digest.ID()
}

// swapCase mistypes a token: it swaps the case of its last letter.
func swapCase(token string) string {
	i := strings.LastIndexAny(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
	return token[:i] + string(token[i]^0x20) + token[i+1:]
}

// fill puts tokens in the place of {name}.
func (w *world) fill(t testing.TB, text string) string {
	t.Helper()
	for name, token := range w.tokens {
		text = strings.ReplaceAll(text, "{"+name+"}", token)
	}
	if strings.Contains(text, "{") {
		t.Fatalf("%q names a secret that is not there", text)
	}
	return text
}

// serve serves a gate of the world on a unix socket, and returns its address.
func (w *world) serve(t testing.TB) string {
	t.Helper()
	secrets := cache.New(w.store, cache.Options{Timeout: 5 * time.Second})
	for !secrets.Trusted() { // a look takes half a second at most: on a busy machine it may need another
		secrets.Look(t.Context())
	}
	w.gate = envoy.NewGate(envoy.Options{
		Secrets: secrets, Catalog: func() *authz.Catalog { return cmp.Or(w.next.Load(), w.catalog) }, Log: slog.New(slog.DiscardHandler), Filter: w.filter,
	})
	server, states := envoy.NewServer(w.gate)
	w.server = server
	envoy.SetServing(states, true)
	return listen(t, server)
}

func listen(t testing.TB, server *grpc.Server) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gate") // t.TempDir() may be too long for a socket
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	listener, err := net.Listen("unix", path)
	must(t, err)
	go server.Serve(listener)
	t.Cleanup(server.Stop)
	return "unix:" + path
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
