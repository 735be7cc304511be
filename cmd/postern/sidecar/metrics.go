package sidecar

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/postern/postern/authz"
	"github.com/postern/postern/cache"
	"github.com/postern/postern/envoy"
	"github.com/postern/postern/envoy/trace"
)

// The metrics, beside the Go runtime's and the process's.
var (
	checks        = prometheus.NewDesc("postern_checks_total", "Checks by what became of them.", []string{"decision", "reason"}, nil)
	checkDuration = prometheus.NewDesc("postern_check_duration_seconds", "Time to decide on a check.", nil, nil)
	answers       = prometheus.NewDesc("postern_filter_answers_total", "Answers that data had to go from, by what became of them. All but filtered, passed and left were withheld.", []string{"result"}, nil)
	answerBytes   = prometheus.NewDesc("postern_filter_bytes", "Bytes held for answers at this moment.", nil, nil)
	answerTime    = prometheus.NewDesc("postern_filter_seconds_total", "Time that answers spent in the filter, waiting for the upstream included.", nil, nil)
	cacheEntries  = prometheus.NewDesc("postern_cache_entries", "Secrets in memory.", nil, nil)
	cacheHits     = prometheus.NewDesc("postern_cache_hits_total", "Look-ups answered without I/O.", nil, nil)
	storeReads    = prometheus.NewDesc("postern_store_reads_total", "Look-ups that asked the store.", nil, nil)
	storeErrors   = prometheus.NewDesc("postern_store_read_errors_total", "Look-ups that the store did not answer.", nil, nil)
	staleAnswers  = prometheus.NewDesc("postern_stale_answers_total", "Look-ups answered from memory because the store did not answer.", nil, nil)
	missing       = prometheus.NewDesc("postern_records_missing_total", "Reads of a secret that was minted here and that the store does not have.", nil, nil)
	invalid       = prometheus.NewDesc("postern_records_invalid_total", "Reads of a record that cannot be used.", nil, nil)
	refused       = prometheus.NewDesc("postern_lookups_refused_total", "Look-ups of tokens minted elsewhere that were not made: known not to exist, or too many.", nil, nil)
	usesWritten   = prometheus.NewDesc("postern_usage_written_total", "Uses of secrets that the store was told of.", nil, nil)
	usesDropped   = prometheus.NewDesc("postern_usage_dropped_total", "Uses of secrets that the store will not be told of, for want of room.", nil, nil)
	traceSpans    = prometheus.NewDesc("postern_trace_spans_total", "Spans of checks by what became of them: sent to the collector, failed as it did not take them, dropped for want of room.", []string{"result"}, nil)
	ready         = prometheus.NewDesc("postern_ready", "1 once the store was seen and is the one of the key file.", nil, nil)
	storeUp       = prometheus.NewDesc("postern_store_up", "1 while the store answers as it should.", nil, nil)
	storeReplaced = prometheus.NewDesc("postern_store_replaced", "1 while the store answers and is not the one that this process first saw: it was emptied or replaced.", nil, nil)
	fresh         = prometheus.NewDesc("postern_fresh", "1 while secrets in memory are used without asking the store.", nil, nil)
	logLag        = prometheus.NewDesc("postern_log_lag_seconds", "How long ago the log of changes last proved that nothing was unseen; an answer of now is true as of then or later. -1 before the first time.", nil, nil)
	logGaps       = prometheus.NewDesc("postern_log_gaps_total", "Times that changes may have been missed, and every secret was read again before use.", nil, nil)
	storeUnsafe   = prometheus.NewDesc("postern_store_unsafe", "Settings that can lose secrets or deletions, or a name that two sidecars share.", nil, nil)
	oldestAnswer  = prometheus.NewDesc("postern_oldest_answer_seconds", "The longest that an answer's secret had not been known to be true, since the process began.", nil, nil)
	clockSet      = prometheus.NewDesc("postern_clock_set_seconds", "How far the machine's clock was set since the process began; below zero: back.", nil, nil)
	reloads       = prometheus.NewDesc("postern_reloads_total", "Reloads of a file by result.", []string{"file", "result"}, nil)
	reloadRefused = prometheus.NewDesc("postern_reload_refused", "1 while a file is not in use as it is, because it was refused.", []string{"file"}, nil)
	catalogInfo   = prometheus.NewDesc("postern_catalog_info", "The catalog in use.", []string{"hash"}, nil)
	buildInfo     = prometheus.NewDesc("postern_build_info", "The program.", []string{"version", "commit"}, nil)
	maxStale      = prometheus.NewDesc("postern_max_stale_seconds", "The setting --max-stale: how long a secret is served while the store does not answer.", nil, nil)
	lagLimit      = prometheus.NewDesc("postern_lag_limit_seconds", "The setting --lag-limit: how long the last proof that no change is unseen holds.", nil, nil)
)

// Describe implements prometheus.Collector: the metrics do not depend on the
// moment.
func (s *sidecar) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		checks, checkDuration, answers, answerBytes, answerTime, cacheEntries, cacheHits, storeReads, storeErrors, staleAnswers, missing, invalid, refused, usesWritten, usesDropped, traceSpans,
		ready, storeUp, storeReplaced, fresh, logLag, logGaps, storeUnsafe, oldestAnswer, clockSet, reloads, reloadRefused, catalogInfo,
		buildInfo, maxStale, lagLimit,
	} {
		out <- d
	}
}

// Collect implements prometheus.Collector.
func (s *sidecar) Collect(out chan<- prometheus.Metric) {
	count := func(d *prometheus.Desc, n int64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, r := range authz.Reasons() {
		count(checks, s.gate.Stats.Reasons[r].Load(), r.Decision().String(), r.String())
	}
	out <- durations(&s.gate.Stats)
	filter := s.gate.Filter
	for _, r := range envoy.Results() {
		count(answers, filter.Stats.Results[r].Load(), r.String())
	}
	gauge(answerBytes, float64(filter.InFlight()))
	out <- prometheus.MustNewConstMetric(answerTime, prometheus.CounterValue, time.Duration(filter.Stats.Nanos.Load()).Seconds())
	stats := &s.secrets.Stats
	count(cacheHits, stats.Hits.Load())
	count(storeReads, stats.Reads.Load())
	count(storeErrors, stats.ReadErrors.Load())
	count(staleAnswers, stats.Stale.Load())
	count(missing, stats.Missing.Load())
	count(invalid, stats.Invalid.Load())
	count(refused, stats.Refused.Load())
	count(usesWritten, stats.UsesWritten.Load())
	count(usesDropped, stats.UsesDropped.Load())
	spans := new(trace.Stats)
	if s.traces != nil {
		spans = &s.traces.Stats
	}
	count(traceSpans, spans.Sent.Load(), "sent")
	count(traceSpans, spans.Failed.Load(), "failed")
	count(traceSpans, spans.Dropped.Load(), "dropped")
	gauge(cacheEntries, float64(s.secrets.Len()))
	state, trouble := s.secrets.State()
	gauge(ready, oneIf(s.secrets.Trusted()))
	f := s.secrets.Freshness()
	gauge(storeUp, oneIf(trouble == nil && f.Trouble == nil && state != cache.Unreached))
	gauge(storeReplaced, oneIf(errors.Is(trouble, cache.ErrReplaced)))
	gauge(fresh, oneIf(f.Confirmed))
	gauge(logLag, f.Lag.Seconds())
	count(logGaps, f.Gaps)
	gauge(storeUnsafe, float64(len(f.Unsafe)))
	gauge(oldestAnswer, time.Duration(stats.Oldest.Load()).Seconds())
	gauge(clockSet, s.gate.ClockSet().Seconds())
	gauge(catalogInfo, 1, s.catalog.Load().Hash())
	gauge(buildInfo, 1, s.Version, s.Commit)
	gauge(maxStale, s.Cache.MaxStale.Seconds())
	gauge(lagLimit, s.Cache.LagLimit.Seconds())
	for _, f := range s.files {
		count(reloads, f.Loads.Load(), f.Name, "loaded")
		count(reloads, f.Refusals.Load(), f.Name, "refused")
		gauge(reloadRefused, oneIf(f.Refused() != ""), f.Name)
	}
}

// durations is the histogram of the time that checks took.
func durations(stats *envoy.Stats) prometheus.Metric {
	buckets := map[float64]uint64{}
	var n uint64
	for i := range stats.Duration {
		n += uint64(stats.Duration[i].Load())
		if i < len(envoy.Buckets) {
			buckets[envoy.Buckets[i].Seconds()] = n
		}
	}
	return prometheus.MustNewConstHistogram(checkDuration, n, float64(stats.Nanos.Load())/1e9, buckets)
}

func oneIf(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
