package cache

import (
	"testing"
	"time"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache/store"
)

func TestUsedAllocatesNothing(t *testing.T) {
	c, s := New(nil, Options{}), granted(1)
	v := use(c, s, "GET", "/orders/1")
	now := time.Now()
	if got := testing.AllocsPerRun(1000, func() { c.Used(s, v, now) }); got != 0 {
		t.Errorf("allocations of a use = %v, want 0", got)
	}
}

func BenchmarkUsed(b *testing.B) {
	secrets := make([]*authz.Secret, 1024)
	verdicts := make([]authz.Verdict, len(secrets))
	c := New(store.New(nil, nil), Options{})
	for i := range secrets {
		secrets[i] = granted(i)
		verdicts[i] = use(c, secrets[i], "GET", "/orders/1")
	}
	now := time.Now()
	for name, n := range map[string]int{"one": 1, "many": len(secrets)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				c.Used(secrets[i%n], verdicts[i%n], now)
			}
		})
		b.Run(name+"-parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(p *testing.PB) {
				for i := 0; p.Next(); i++ {
					c.Used(secrets[i%n], verdicts[i%n], now)
				}
			})
		})
	}
}
