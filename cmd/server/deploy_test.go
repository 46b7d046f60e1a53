package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"quern/internal/storetest"
	"quern/pgtest"
	"quern/postgres"
	"quern/postgres/pgprom"
)

// deployFile returns a file of deploy/.
func deployFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// TestDeploy_Settings checks that each variable that a file of deploy/ sets is a setting.
func TestDeploy_Settings(t *testing.T) {
	t.Parallel()
	_, parser := defaults(t)
	known := settingNames(parser)
	for name, file := range map[string]struct {
		variable *regexp.Regexp
		others   []string // variables that other programs read
	}{
		"Dockerfile":      {regexp.MustCompile(`(?m)^ENV ([A-Z_]+)=`), nil},
		"compose.yaml":    {regexp.MustCompile(`(?m)^      ([A-Z_]+): `), []string{"POSTGRES_USER", "POSTGRES_DB", "POSTGRES_PASSWORD", "APP_PASSWORD"}},
		"kubernetes.yaml": {regexp.MustCompile(`(?m)^            - \{?name: ([A-Z_]+)`), []string{"GOMEMLIMIT"}},
		"haproxy.cfg":     {regexp.MustCompile(`\b([A-Z]+_[A-Z_]+)\b`), nil},
		"quern.service":   {regexp.MustCompile(`\b([A-Z]+_[A-Z_]+)\b`), []string{"AF_INET", "AF_UNIX"}},
	} {
		found := file.variable.FindAllStringSubmatch(deployFile(t, name), -1)
		if len(found) == 0 {
			t.Errorf("deploy/%s sets nothing", name)
		}
		for _, f := range found {
			if !slices.Contains(known, f[1]) && !slices.Contains(file.others, f[1]) {
				t.Errorf("deploy/%s: %s is not a setting", name, f[1])
			}
		}
	}
}

// describing is a Registerer that keeps the names of all metrics, those without samples too.
type describing struct {
	*prometheus.Registry
	names map[string]bool
}

var described = regexp.MustCompile(`fqName: "([^"]+)"`)

func (d describing) Register(c prometheus.Collector) error {
	all := make(chan *prometheus.Desc)
	go func() { c.Describe(all); close(all) }()
	for desc := range all {
		d.names[described.FindStringSubmatch(desc.String())[1]] = true
	}
	return d.Registry.Register(c)
}

func (d describing) MustRegister(list ...prometheus.Collector) {
	for _, c := range list {
		if err := d.Register(c); err != nil {
			panic(err)
		}
	}
}

// dashboardQueries returns the expressions of the panels of the dashboard.
func dashboardQueries(t *testing.T) (queries []string) {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal([]byte(deployFile(t, "grafana-dashboard.json")), &dashboard); err != nil {
		t.Fatal(err)
	}
	for _, p := range dashboard.Panels {
		for _, q := range p.Targets {
			queries = append(queries, q.Expr)
		}
	}
	if len(queries) == 0 {
		t.Fatal("the dashboard has no panels")
	}
	return queries
}

// TestDeploy_Metrics checks that the server exports each metric that the alerts and the dashboard
// use. A histogram's name has a suffix there.
func TestDeploy_Metrics(t *testing.T) {
	t.Parallel()
	address := storetest.NewURL(t)
	p := serve(t, t.TempDir(), "DATABASE_URL="+address, "DATABASE_REPLICA_URLS="+address)
	exported := map[string]bool{"up": true}
	names := describing{prometheus.NewRegistry(), exported}
	pgprom.New(names, pgprom.Options{})
	newPlanWatch(postgres.Config{}, nil, names)
	_, page := p.get(t, "/metrics")
	for _, m := range regexp.MustCompile(`(?m)^# TYPE (\S+) `).FindAllStringSubmatch(page, -1) {
		exported[m[1]] = true
	}
	use := regexp.MustCompile(`\b(?:up|(?:quern|pgxpool|process|go)_[a-z_]+)\b`)
	for file, texts := range map[string][]string{
		"grafana-dashboard.json": dashboardQueries(t),
		"prometheus/alerts.yml":  {deployFile(t, "prometheus/alerts.yml")},
	} {
		for _, name := range use.FindAllString(strings.Join(texts, "\n"), -1) {
			base := regexp.MustCompile(`_(bucket|sum|count)$`).ReplaceAllString(name, "")
			if !exported[name] && !exported[base] {
				t.Errorf("deploy/%s uses %s, which the server does not export", file, name)
			}
		}
	}
}

// TestDeploy_Alerts checks the rules, their unit tests and the dashboard's queries with promtool.
func TestDeploy_Alerts(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed: Debian's package prometheus has it")
	}
	var panels strings.Builder
	fmt.Fprint(&panels, "groups:\n  - name: dashboard\n    rules:\n")
	for i, q := range dashboardQueries(t) {
		fmt.Fprintf(&panels, "      - {record: panel:%d, expr: %q}\n", i, strings.ReplaceAll(q, "$__rate_interval", "1m"))
	}
	queries := filepath.Join(t.TempDir(), "panels.yml")
	if err := os.WriteFile(queries, []byte(panels.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	const folder = "../../deploy/prometheus/"
	for _, args := range [][]string{
		{"check", "rules", folder + "alerts.yml"},
		{"test", "rules", folder + "alerts_test.yml"},
		{"check", "config", folder + "prometheus.yml"},
		{"check", "rules", queries},
	} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	// Each alert is tested, and explained to the person who is called.
	guide, err := os.ReadFile("../../docs/production.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, alert := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(deployFile(t, "prometheus/alerts.yml"), -1) {
		if n := strings.Count(deployFile(t, "prometheus/alerts_test.yml"), "alertname: "+alert[1]+"\n"); n < 2 {
			t.Errorf("alerts_test.yml has %d tests of %s, want one that fires and one that does not", n, alert[1])
		}
		if !strings.Contains(string(guide), "`"+alert[1]+"`") {
			t.Errorf("docs/production.md does not explain %s", alert[1])
		}
	}
}

// TestDeploy_Roles runs deploy/roles.sql with psql, applies the migrations as the owner, and serves
// as the role.
func TestDeploy_Roles(t *testing.T) {
	t.Parallel()
	psql, err := exec.LookPath("psql")
	if err != nil {
		t.Skip("psql is not installed")
	}
	r := newRole(t, pgtest.EmptyURL(t))
	script := filepath.Join(t.TempDir(), "roles.sql")
	// Roles belong to the whole server, which other tests share.
	text := regexp.MustCompile(`\bapp\b`).ReplaceAllString(deployFile(t, "roles.sql"), r.role)
	if err := os.WriteFile(script, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), psql, "--no-psqlrc", "-f", script, r.owner.Config().ConnString())
	cmd.Env = append(os.Environ(), "APP_PASSWORD=x")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("psql: %v\n%s", err, out)
	}
	up := command(t, t.TempDir(), []string{"DATABASE_URL=" + r.owner.Config().ConnString()}, "migrate", "up")
	if err := up.Run(); err != nil {
		t.Fatalf("migrate up: %v\n%s", err, up.stderr)
	}
	r.works(t)
}
