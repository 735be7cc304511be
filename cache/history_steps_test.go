package cache

import (
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

// join starts a sidecar.
func (h *history) join() {
	h.started++
	o := h.options
	o.Name = fmt.Sprint(h.name, "sidecar", h.started)
	l, st := newLine(h.servers, h.client(), h.keys, h.fork())
	m := start(l, st, o, h.tamper)
	m.slack = h.slack
	h.mu.Lock()
	defer h.mu.Unlock()
	h.members = append(h.members, m)
	h.note("%s starts", m.name)
}

// operate is an operator's context: of work that a crash of the server ends.
func (h *history) operate() (context.Context, context.CancelFunc) {
	ctx := context.Background()
	if h.servers != nil {
		h.servers.change(func(n *node) { ctx = context.WithValue(ctx, heldTo{}, n.runID) })
	}
	return context.WithTimeout(ctx, 2*time.Second)
}

// create makes a secret, or imports it.
func (h *history) create() {
	ctx, cancel := h.operate()
	defer cancel()
	secret := authz.Secret{Merchant: "m", Grants: []authz.Grant{{Permission: "get"}}}
	text := fmt.Sprintf("%s-imported-token-%08d", h.name, len(h.facts))
	var token authz.Token
	var err error
	if h.random.IntN(2) == 0 {
		token, _, err = h.admin.Create(ctx, secret)
	} else if _, err = h.admin.Import(ctx, secret, sha256.Sum256([]byte(text))); err == nil {
		token, _ = authz.ParseToken(text)
	}
	if err != nil {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.note("create: %v", err)
		return
	}
	h.add(token).live = time.Now()
}

// invent adds tokens that were never made.
func (h *history) invent() {
	minted, _, err := h.keys.Mint()
	if err != nil {
		panic(err)
	}
	foreign, _ := authz.ParseToken("invented-token-00000000")
	h.add(minted)
	h.add(foreign)
}

func (h *history) add(token authz.Token) *fact {
	l, _ := h.keys.Lookup(token)
	h.mu.Lock()
	defer h.mu.Unlock()
	f := &fact{name: fmt.Sprint("token", len(h.facts)), lookup: l, memories: map[*member]*memory{}}
	h.facts = append(h.facts, f)
	h.note("%s minted=%v id=%s", f.name, l.Minted, l.Digest.ID())
	return f
}

// question asks a sidecar for a token, and judges the answer.
func (h *history) question(m *member, f *fact) answer {
	a := m.find(f)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note("%s on %s since %.4f: %s, read %v", f.name, m.name, a.from.Sub(h.begun).Seconds(), said(a), a.read)
	if wrong := f.judge(a); wrong != "" {
		h.wrong(f.name + " on " + m.name + " " + wrong)
	}
	return a
}

func said(a answer) string {
	switch {
	case a.err != nil:
		return a.err.Error()
	case a.secret.DeletedAt.IsZero():
		return "found"
	}
	return "deleted"
}

func (h *history) ask() { h.askOf(h.some(), h.pick(anything)) }

func (h *history) askAll() {
	f := h.pick(anything)
	if h.random.IntN(2) == 0 {
		f = h.facts[len(h.facts)-1]
	}
	for _, m := range h.members {
		h.askOf(m, f)
	}
}

// askOf asks a sidecar, unless it is stopped.
func (h *history) askOf(m *member, f *fact) {
	if faults, _ := m.next(); faults.hold == nil {
		h.work.Go(func() { h.question(m, f) })
	}
}

// remove deletes a secret.
func (h *history) remove() {
	if f := h.pick(func(f *fact) bool { return !f.live.IsZero() && !f.lost && f.deleted.IsZero() }); f != nil {
		h.work.Go(func() { h.delete(f) })
	}
}

// race asks everyone for a secret while it is deleted.
func (h *history) race() {
	f := h.pick(standing)
	if f == nil {
		return
	}
	for _, m := range h.members {
		h.askOf(m, f)
	}
	time.Sleep(time.Duration(h.random.Int64N(int64(20 * time.Millisecond))))
	h.work.Go(func() { h.delete(f) })
}

// rotate makes another secret, and deletes the one before.
func (h *history) rotate() {
	h.create()
	h.remove()
}

// delete deletes a secret, and holds every sidecar to what the fleet says then.
func (h *history) delete(f *fact) {
	ctx, cancel := h.operate()
	defer cancel()
	h.mu.Lock()
	f.doomed = true
	h.note("delete %s", f.name)
	h.mu.Unlock()
	d, err := h.admin.Delete(ctx, f.lookup.Digest.ID(), store.AllReplicas)
	h.mu.Lock()
	h.note("delete %s: announced at %v, %v", f.name, d.Announced, err)
	if err == nil && !f.lost {
		f.deleted = time.Now()
	}
	h.mu.Unlock()
	if err == nil {
		h.hold(f, d.Announced)
	}
}

// hold notes which sidecars the fleet says have applied a deletion, or are gone.
func (h *history) hold(f *fact, at store.Position) {
	ctx, cancel := context.WithTimeout(context.Background(), 300*time.Millisecond)
	defer cancel()
	applied, late, err := h.admin.AwaitApplied(ctx, at)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.note("applied %s: %v, late %v, %v", f.name, names(applied), names(late), err)
	if err != nil || f.deleted.IsZero() {
		return
	}
	for _, m := range h.members {
		switch k := f.of(m); {
		case slices.Contains(names(applied), m.name):
			k.applied = time.Now()
		case h.steady && !slices.Contains(names(late), m.name):
			k.gone = time.Now()
		}
	}
}

func names(fleet []store.Sidecar) (all []string) {
	for _, s := range fleet {
		all = append(all, s.Name)
	}
	return all
}

// settle mends everything, and demands that all is right after a while.
func (h *history) settle() {
	if h.calm != nil {
		h.calm.Lock()
		defer h.calm.Unlock()
	}
	if h.servers != nil {
		h.servers.lag(false)
	}
	for _, m := range h.members {
		h.mend(m)
	}
	time.Sleep(3 * time.Second)
	h.everyone(func(m *member, f *fact) { h.question(m, f) }) // closes the breakers
	time.Sleep(time.Second)
	h.everyone(h.demand)
}

func (h *history) everyone(do func(*member, *fact)) {
	for _, f := range h.facts {
		for _, m := range h.members {
			h.work.Go(func() { do(m, f) })
		}
	}
}

// demand asks for a token, and takes no excuse.
func (h *history) demand(m *member, f *fact) {
	a := h.question(m, f)
	h.mu.Lock()
	defer h.mu.Unlock()
	refused := standing(f) && a.err != nil
	allowed := !f.deleted.IsZero() && !f.lost && (a.err != nil || a.secret.DeletedAt.IsZero())
	if !h.emptied && (refused || allowed) {
		h.wrong(f.name + " on " + m.name + ", with all mended: " + said(a))
	}
}
