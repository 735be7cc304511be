package deploy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// scrapeEvery is long enough for a loaded machine to answer in.
const scrapeEvery = 500 * time.Millisecond

// A prometheus is a real one that scrapes.
type prometheus struct {
	t       *testing.T
	address string
	begun   time.Time
}

// A target is what Prometheus scrapes: an address and its path, and the
// metric_relabel_configs, if any.
type target struct {
	job, address, path string
	relabel            any
}

// startPrometheus starts one that evaluates no rules.
func startPrometheus(t *testing.T, targets []target) *prometheus {
	t.Helper()
	for _, name := range []string{"prometheus", "promtool"} {
		if _, err := exec.LookPath(name); err != nil {
			t.Fatalf("find %s: %v: run `make prometheus`, which installs it", name, err)
		}
	}
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.json") // which is YAML too
	writeJSON(t, config, scrapeConfig(targets))
	p := &prometheus{t: t, address: freeAddress(t), begun: time.Now()}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close() // the process has its own copy
	cmd := exec.Command("prometheus", "--config.file", config, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", p.address)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
	})
	for end := time.Now().Add(20 * time.Second); p.ready() != nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			said, _ := os.ReadFile(log.Name())
			t.Fatalf("prometheus is not ready after 20 s, saying:\n%s", said)
		}
	}
	return p
}

func (p *prometheus) ready() error {
	response, err := http.Get("http://" + p.address + "/-/ready")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("not ready: %s", response.Status)
	}
	return nil
}

func scrapeConfig(targets []target) map[string]any {
	type scrape = map[string]any
	var scrapes []scrape
	for i, one := range targets {
		scrapes = append(scrapes, scrape{
			"job_name": fmt.Sprint(i), "metrics_path": one.path, "metric_relabel_configs": one.relabel,
			"static_configs": []any{map[string]any{"targets": []string{one.address}, "labels": map[string]string{"job": one.job}}},
		})
	}
	every := scrapeEvery.String()
	return map[string]any{"global": map[string]any{"scrape_interval": every, "scrape_timeout": every}, "scrape_configs": scrapes}
}

func writeJSON(t *testing.T, file string, value any) {
	t.Helper()
	data, err := json.MarshalIndent(value, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A series is one that Prometheus has: its samples as pairs of a time in
// seconds and a value.
type series struct {
	Metric map[string]string
	Values [][2]any
	Value  [2]any // of an instant query
}

// query asks for the value of an expression now.
func (p *prometheus) query(expression string) ([]series, error) {
	response, err := http.PostForm("http://"+p.address+"/api/v1/query", url.Values{"query": {expression}})
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer struct {
		Error string
		Data  struct {
			ResultType string
			Result     json.RawMessage
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	if answer.Error != "" {
		return nil, fmt.Errorf("query %s: %s", expression, answer.Error)
	}
	if kind := answer.Data.ResultType; kind != "vector" && kind != "matrix" {
		return nil, fmt.Errorf("query %s: a %s, want a vector", expression, kind)
	}
	var all []series
	return all, json.Unmarshal(answer.Data.Result, &all)
}

// awaitScrapes returns when so many targets were scraped. It begins anew to
// count time: to the rules, there was nothing before.
func (p *prometheus) awaitScrapes(targets int) {
	p.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		up, err := p.query("up == 1")
		if err == nil && len(up) == targets {
			p.begun = time.Now()
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("after 20 s Prometheus has scraped %d of %d targets (%v)", len(up), targets, err)
		}
	}
}

// samples are all that Prometheus has of a job, as far as rules or dashboards
// may read it.
func (p *prometheus) samples(job string) []series {
	p.t.Helper()
	all, err := p.query(fmt.Sprintf(`{job=%q, __name__=~"up|postern_.*|envoy_http_ext_.*"}[10m]`, job))
	if err != nil {
		p.t.Fatal(err)
	}
	if len(all) == 0 {
		p.t.Fatalf("prometheus has nothing of job %s", job)
	}
	return all
}

// name is the series in PromQL.
func (s series) name(renamed string) string {
	name := s.Metric["__name__"]
	if name == renamed {
		name += "_renamed"
	}
	var labels []string
	for label, value := range s.Metric {
		if label != "__name__" {
			labels = append(labels, fmt.Sprintf("%s=%q", label, value))
		}
	}
	return name + "{" + strings.Join(labels, ",") + "}"
}
