package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store/storetest"
)

// engines are the ways to run Redis.
var engines = []struct {
	name  string
	start func(t *testing.T) (url string, masters, replicas []*storetest.Server)
}{
	{"one", func(t *testing.T) (string, []*storetest.Server, []*storetest.Server) {
		s := storetest.Redis(t)
		return s.URL(), []*storetest.Server{s}, nil
	}},
	{"Sentinel", func(t *testing.T) (string, []*storetest.Server, []*storetest.Server) {
		g := storetest.Sentinel(t)
		return g.URL(), g.Data[:1], g.Data[1:]
	}},
	{"Cluster", func(t *testing.T) (string, []*storetest.Server, []*storetest.Server) {
		g := storetest.Cluster(t)
		return g.URL(), g.Nodes[:], nil
	}},
}

// behaviours hold on every engine. Each begins with an empty store.
var behaviours = slices.Concat(createBehaviours, legacyBehaviours, importBehaviours, deleteBehaviours,
	epochBehaviours, merchantBehaviours, keyBehaviours, recordBehaviours, logBehaviours, fleetBehaviours, masterBehaviours, usageBehaviours)

type behaviour struct {
	name  string
	check func(t *testing.T, w *world)
}

func TestOnEveryEngine(t *testing.T) {
	for _, e := range engines {
		t.Run(e.name, func(t *testing.T) {
			t.Parallel()
			url, masters, replicas := e.start(t)
			for _, b := range behaviours {
				t.Run(b.name, func(t *testing.T) { b.check(t, newWorld(t, url, masters, replicas)) })
			}
		})
	}
}

// world is an empty store and its servers.
type world struct {
	*Store
	t        *testing.T
	url      string
	masters  []*storetest.Server
	replicas []*storetest.Server // of the first master
	act      atomic.Pointer[act] // on the commands of this store's client
}

// act does what becomes of a command; next has the server carry it out. A
// script is tried by its hash first, which counts as a command.
type act func(cmd redis.Cmder, next func() error) error

func newWorld(t *testing.T, url string, masters, replicas []*storetest.Server) *world {
	t.Helper()
	for _, s := range masters {
		s.Do("FLUSHALL")
	}
	keys, err := authz.NewKeyring("test_")
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, url: url, masters: masters, replicas: replicas}
	return w.other(keys)
}

// other is the same servers' store by another process, which has these keys.
func (w *world) other(keys *authz.Keyring) *world {
	w.t.Helper()
	o := &world{t: w.t, url: w.url, masters: w.masters, replicas: w.replicas}
	client := connect(w.t, Options{URL: w.url, Timeout: patient})
	if cluster, ok := client.(*redis.ClusterClient); ok { // its nodes': the store also pins their connections
		cluster.OnNewNode(func(node *redis.Client) { node.AddHook(o) })
	} else {
		client.AddHook(o)
	}
	o.Store = New(client, keys)
	return o
}

func (w *world) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook has the act act on a pipeline as on its first command.
func (w *world) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		act := w.act.Load()
		if act == nil || len(cmds) == 0 {
			return next(ctx, cmds)
		}
		err := (*act)(cmds[0], func() error { return next(ctx, cmds) })
		for _, cmd := range cmds {
			cmd.SetErr(cmp.Or(cmd.Err(), err))
		}
		return err
	}
}

func (w *world) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		ours := cmd.Name() != "hello" && cmd.Name() != "cluster" // which the client sends by itself
		if act := w.act.Load(); act != nil && ours {
			return (*act)(cmd, func() error { return next(ctx, cmd) })
		}
		return next(ctx, cmd)
	}
}

// meddle has act act from now on; nil ends it.
func (w *world) meddle(a act) {
	if a == nil {
		w.act.Store(nil)
		return
	}
	w.act.Store(&a)
}

var errCrash = errors.New("this process is dead")

// crash is a writer's death: its command number at fails, and so do those that
// follow. Where carried, the server does carry out that one, and only the
// answer is lost.
func crash(at int, carried bool) act {
	var count atomic.Int64 // a Cluster's nodes are asked at the same time
	return func(cmd redis.Cmder, next func() error) error {
		n := int(count.Add(1))
		switch {
		case n < at:
			return next()
		case n == at && carried:
			_ = next() // nobody hears
		}
		cmd.SetErr(errCrash)
		return errCrash
	}
}

// ids are those of all records, tombstones included, of all masters.
func (w *world) ids() []string {
	w.t.Helper()
	var ids []string
	for _, s := range w.masters {
		for _, name := range s.Do("KEYS", secretKey("*")).([]any) {
			ids = append(ids, strings.TrimPrefix(name.(string), secretKey("")))
		}
	}
	return ids
}

// live are the live secrets of all masters, by id.
func (w *world) live() map[string]*authz.Secret {
	w.t.Helper()
	live := map[string]*authz.Secret{}
	for _, id := range w.ids() {
		if secret, err := w.Read(w.t.Context(), id); err != nil {
			w.t.Errorf("Read(%s) = %v", id, err)
		} else if secret.DeletedAt.IsZero() {
			live[id] = secret
		}
	}
	return live
}

// dump is all that the masters hold.
func (w *world) dump() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for _, s := range w.masters {
		for _, name := range s.Do("KEYS", "*").([]any) {
			all[name.(string)] = fmt.Sprint(s.Do("DUMP", name))
		}
	}
	return all
}

// buried are the ids of what was deleted.
func buried(d Deletion) []string {
	ids := []string{}
	for _, tombstone := range d.Tombstones {
		ids = append(ids, tombstone.ID)
	}
	return ids
}

// listed are the ids that a merchant's list shows.
func (w *world) listed(merchant string) []string {
	w.t.Helper()
	secrets, broken, err := w.List(w.t.Context(), merchant)
	if err != nil || len(broken) > 0 {
		w.t.Errorf("List(%s): broken %v, %v", merchant, broken, err)
	}
	ids := []string{}
	for _, s := range secrets {
		ids = append(ids, s.ID)
	}
	return ids
}

// showsAll demands that no live secret is one that its merchant's list does
// not show.
func (w *world) showsAll(what string) {
	w.t.Helper()
	for id, secret := range w.live() {
		if !slices.Contains(w.listed(secret.Merchant), id) {
			w.t.Errorf("%s: %s lives, and the list of merchant %s does not show it", what, id, secret.Merchant)
		}
	}
}

// some is a secret of a merchant that uses every field there is.
func some(merchant string) authz.Secret {
	return authz.Secret{
		Merchant: merchant, Description: "Größe — \"labels\" <&>\u2028", Catalog: "0123abcd",
		CreatedAt: time.Date(2026, 11, 23, 9, 59, 48, 123456789, time.UTC), ExpiresAt: time.Date(2099, 1, 2, 3, 4, 5, 0, time.UTC),
		AllowIPs: prefixes("192.0.2.0/24", "2001:db8::/32", "198.51.100.7/32"),
		Grants: []authz.Grant{
			{Permission: "getLabel", Fields: []string{"shipping_price"}, Endpoints: []authz.GrantedEndpoint{{
				Method: "GET", Path: "/api/3/orders/{n}/label",
				Groups: map[string][]string{"shipping_price": {"$.price", "$.parcels[*].price"}, "cost": {"$.cost"}},
			}}},
			{Permission: "orders", Endpoints: []authz.GrantedEndpoint{{Method: "PUT", Path: "/o/{n}"}, {Method: "PATCH", Path: "/o/{n}"}}},
		},
	}
}

// made creates a secret like some.
func (w *world) made(merchant string) (authz.Token, *authz.Secret) {
	w.t.Helper()
	token, secret, err := w.Create(w.t.Context(), some(merchant))
	if err != nil {
		w.t.Fatal(err)
	}
	return token, secret
}

// same demands two maps or slices of the same elements.
func (w *world) same(what string, got, want []string) {
	w.t.Helper()
	if got, want := slices.Sorted(slices.Values(got)), slices.Sorted(slices.Values(want)); !slices.Equal(got, want) {
		w.t.Errorf("%s = %v, want %v", what, got, want)
	}
}

// unchanged demands that the store holds what it held.
func (w *world) unchanged(what string, before map[string]string) {
	w.t.Helper()
	if after := w.dump(); !maps.Equal(after, before) {
		w.t.Errorf("%s changed the store from %q to %q", what, slices.Collect(maps.Keys(before)), slices.Collect(maps.Keys(after)))
	}
}
