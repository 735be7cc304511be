package cache

import (
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"

	"github.com/postern/postern/cache/store"
)

// BenchmarkHot measures look-ups of one secret by 16 goroutines, and the least
// that they could cost: an LRU behind a lock.
func BenchmarkHot(b *testing.B) {
	c := New(nil, Options{LagLimit: time.Hour})
	c.fresh.prove(time.Now())
	if _, err := c.fill(b.Context(), one, read(one, "m")); err != nil {
		b.Fatal(err)
	}
	var mu sync.Mutex
	lru, _ := simplelru.NewLRU[key, entry](100_000, nil)
	lru.Add(keyOf(one.Digest), entry{})
	for name, look := range map[string]func(){
		"find": func() { c.Find(b.Context(), one, here) },
		"lru":  func() { mu.Lock(); lru.Get(keyOf(one.Digest)); mu.Unlock() },
	} {
		b.Run(name, func(b *testing.B) {
			b.SetParallelism(8)
			b.RunParallel(func(p *testing.PB) {
				for p.Next() {
					look()
				}
			})
		})
	}
}

// BenchmarkMiss measures a look-up of what is not in memory beside a GET of the
// same record, one after the other: the median of the ratios of many.
func BenchmarkMiss(b *testing.B) {
	w, s := onRedis(b)
	bare, err := store.Connect(store.Options{URL: s.URL(), Timeout: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	l, _ := w.legacy("m-1")
	c := w.confirmed(Options{Timeout: time.Second, LagLimit: time.Hour})
	var misses, gets []time.Duration
	for b.Loop() {
		c.drop(keyOf(l.Digest))
		begun := time.Now()
		want(b, "miss", c, l, here, found)
		missed := time.Now()
		if err := bare.Get(b.Context(), "postern:secret:"+l.Digest.ID()).Err(); err != nil {
			b.Fatal(err)
		}
		misses, gets = append(misses, missed.Sub(begun)), append(gets, time.Since(missed))
	}
	slices.Sort(misses)
	slices.Sort(gets)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(misses[len(misses)/2].Nanoseconds()), "miss-ns")
	b.ReportMetric(float64(misses[len(misses)/2])/float64(gets[len(gets)/2]), "miss/GET-ratio")
}
