package deploy

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"
)

const dashboardFile = "dashboards/postern.json"

// A panel of the dashboard, as Grafana has it.
type panel struct {
	ID      int
	Type    string
	Title   string
	GridPos struct{ H, W, X, Y int }
	Targets []struct {
		RefID, Expr string
		Datasource  struct{ UID string }
	}
}

type dashboard struct {
	Panels     []panel
	Templating struct {
		List []struct{ Name, Type, Definition string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	if err := json.Unmarshal([]byte(readText(t, dashboardFile)), &d); err != nil {
		t.Fatal(err)
	}
	return d
}

// observed is a scene that Prometheus scrapes, in which all goes its way.
func observed(t *testing.T) (*scene, *prometheus) {
	s := newScene(t, "observed")
	s.proxy = s.envoy(nil)
	p := startPrometheus(t, s.targets())
	go s.traffic()
	return s, p
}

// Every query of the dashboard and of its variables returns data, of the real
// processes by a real Prometheus. (Grafana itself is not asked.)
func TestDashboard(t *testing.T) {
	t.Parallel()
	_, p := observed(t)
	d := readDashboard(t)
	for _, v := range d.Templating.List {
		if v.Type != "datasource" {
			p.awaitData(t, "variable "+v.Name, valuesOf(t, v.Definition))
		}
	}
	queries := 0
	for _, one := range d.Panels {
		for _, target := range one.Targets {
			queries++
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %s asks the data source %q, want the variable's", one.Title, target.Datasource.UID)
			}
			p.awaitData(t, "panel "+one.Title+" "+target.RefID, filledIn(target.Expr))
		}
	}
	if queries < 50 {
		t.Errorf("%d queries were found: want 50 at least, or this test has lost them", queries)
	}
	if err := p.hasData(filledIn(`sum(rate(postern_checks_renamed_total{job=~"$job"}[$__rate_interval]))`)); err == nil {
		t.Error("a metric that does not exist has data: this test shows nothing")
	}
}

// filledIn is a query as Grafana sends it.
func filledIn(query string) string {
	return strings.NewReplacer("$__rate_interval", "5s", "$__range", "1m", "$job", ".*", "$instance", ".*", "$envoy_job", ".*").Replace(query)
}

var labelValues = regexp.MustCompile(`^label_values\((.*), (\w+)\)$`)

// valuesOf is a variable's definition in PromQL.
func valuesOf(t *testing.T, definition string) string {
	t.Helper()
	m := labelValues.FindStringSubmatch(definition)
	if m == nil {
		t.Fatalf("a variable is %q, want label_values(METRIC, LABEL)", definition)
	}
	return fmt.Sprintf(`count by (%s) (%s)`, m[2], filledIn(m[1]))
}

func (p *prometheus) awaitData(t *testing.T, what, query string) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		err := p.hasData(query)
		if err == nil {
			return
		}
		if time.Now().After(end) {
			t.Errorf("%s: %v", what, err)
			return
		}
	}
}

// hasData reports whether a query gives a number.
func (p *prometheus) hasData(query string) error {
	all, err := p.query(query)
	if err != nil {
		return err
	}
	for _, s := range all {
		if s.Value[1] != "NaN" {
			return nil
		}
	}
	return fmt.Errorf("%s gives no number in %d series", query, len(all))
}

// Panels have a title and a place of their own.
func TestDashboardForm(t *testing.T) {
	ids, taken := map[int]string{}, map[[2]int]string{}
	for _, one := range readDashboard(t).Panels {
		if other, found := ids[one.ID]; found || one.Title == "" {
			t.Errorf("panel %d %q: want a title, and an id that %q does not have", one.ID, one.Title, other)
		}
		ids[one.ID] = one.Title
		if one.Type != "row" && len(one.Targets) == 0 {
			t.Errorf("panel %s asks nothing", one.Title)
		}
		for x := range one.GridPos.W {
			for y := range one.GridPos.H {
				at := [2]int{one.GridPos.X + x, one.GridPos.Y + y}
				if other := taken[at]; other != "" || at[0] >= 24 {
					t.Errorf("panel %s lies over %q, or beyond the edge", one.Title, other)
				}
				taken[at] = one.Title
			}
		}
	}
}
