package cache

import (
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"

	"github.com/postern/postern/authz"
)

// Bounds on what tokens that were not minted here, and are not kept, may cost:
// anyone can invent them. Misses are limited by rate for each network, and for
// all together only by how many are under way: a rate for all would let an
// attacker keep good secrets out.
const (
	unknownLife    = 2 * time.Second // how long an unknown token is kept
	unknownSize    = 16_384
	missesAtOnce   = 32
	missRate       = 50  // a second, for one network
	missBurst      = 200 // for one network
	networksKept   = 8_192
	networkBitsIP4 = 24
	networkBitsIP6 = 48
)

// unknowns keeps tokens that are not known, apart from the secrets that are,
// so that a flood of them pushes nothing good out.
type unknowns struct {
	until    *lru.Cache[authz.Digest, time.Time]
	networks *lru.Cache[netip.Prefix, *rate.Limiter]
	underWay chan struct{}
}

func newUnknowns() unknowns {
	until, err := lru.New[authz.Digest, time.Time](unknownSize)
	networks, err2 := lru.New[netip.Prefix, *rate.Limiter](networksKept)
	if err != nil || err2 != nil {
		panic("cache: a size above is not positive")
	}
	return unknowns{until: until, networks: networks, underWay: make(chan struct{}, missesAtOnce)}
}

// add keeps that no secret has this digest.
func (u *unknowns) add(d authz.Digest) { u.until.Add(d, time.Now().Add(unknownLife)) }

// holds reports whether no secret had this digest a moment ago.
func (u *unknowns) holds(d authz.Digest) bool {
	until, ok := u.until.Get(d)
	return ok && time.Now().Before(until)
}

// enter begins a read for a client, unless its network asks for too many. It
// waits for its turn, in the order of coming, and not longer than patience:
// others' many reads at once are no fault of this one. After true comes leave.
func (u *unknowns) enter(client netip.Addr, patience time.Duration) bool {
	if !u.limiter(client).Allow() {
		return false
	}
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case u.underWay <- struct{}{}:
		return true
	case <-timer.C:
		return false
	}
}

func (u *unknowns) leave() { <-u.underWay }

// limiter is the limiter of an address's network. All addresses that are not
// known share one.
func (u *unknowns) limiter(client netip.Addr) *rate.Limiter {
	client = client.Unmap()
	bits := networkBitsIP6
	if client.Is4() {
		bits = networkBitsIP4
	}
	network, _ := client.Prefix(bits) // the zero Prefix where there is no address
	limiter, ok := u.networks.Get(network)
	if !ok {
		limiter = rate.NewLimiter(missRate, missBurst)
		if before, ok, _ := u.networks.PeekOrAdd(network, limiter); ok {
			limiter = before
		}
	}
	return limiter
}
