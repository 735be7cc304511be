package envoy

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/postern/postern/authz"
)

// DecisionLog tells the log of some decisions: each second up to a number that
// allow, and as many others, so that neither hides the other. No check waits
// for the log. It is safe for concurrent use.
type DecisionLog struct {
	log             *slog.Logger
	allowed, others sampler
	lines           chan decision
}

// decisionRoom is how many decisions wait for the log at most.
const decisionRoom = 1024

// sampler picks decisions of a kind.
type sampler struct {
	limit   *rate.Limiter
	leftOut atomic.Int64 // since the last that was picked
}

// decision is what is logged of a check: of the request nothing but ids.
type decision struct {
	verdict authz.Verdict
	at      time.Time
	took    time.Duration
	leftOut int64
}

// NewDecisionLog logs up to perSecond decisions of each kind a second, 1 or
// more, while Run runs.
func NewDecisionLog(log *slog.Logger, perSecond int) *DecisionLog {
	l := &DecisionLog{log: log, lines: make(chan decision, decisionRoom)}
	l.allowed.limit = rate.NewLimiter(rate.Limit(perSecond), perSecond)
	l.others.limit = rate.NewLimiter(rate.Limit(perSecond), perSecond)
	return l
}

// add takes a decision, or counts it as left out.
func (l *DecisionLog) add(v authz.Verdict, at time.Time, took time.Duration) {
	kind := &l.others
	if v.Reason.Decision() == authz.Allow {
		kind = &l.allowed
	}
	if !kind.limit.AllowN(at, 1) {
		kind.leftOut.Add(1)
		return
	}
	leftOut := kind.leftOut.Swap(0)
	select {
	case l.lines <- decision{v, at, took, leftOut}:
	default: // the log stands still
		kind.leftOut.Add(leftOut + 1)
	}
}

// Run writes until ctx ends, and then what was taken before.
func (l *DecisionLog) Run(ctx context.Context) {
	for {
		select {
		case d := <-l.lines:
			l.write(d)
		case <-ctx.Done():
			for range len(l.lines) {
				l.write(<-l.lines)
			}
			return
		}
	}
}

// write writes what dynamicMetadata tells Envoy, by the same names.
func (l *DecisionLog) write(d decision) {
	record := slog.NewRecord(d.at, slog.LevelInfo, "decision", 0)
	for _, f := range facts(d.verdict) {
		record.AddAttrs(slog.String(f[0], f[1]))
	}
	record.AddAttrs(slog.Int64("us", d.took.Microseconds()), slog.Int64("left_out", d.leftOut))
	l.log.Handler().Handle(context.Background(), record)
}
