package console

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"quern/internal/proof"
	"quern/postgres"
)

// Contract is whether the @plan of a statement holds in the database.
type Contract struct {
	State   string `json:"state"`   // holds, broken, unchecked, or none if there is no @plan
	Problem string `json:"problem"` // why it is broken
}

// plansFor is how long a check of the contracts is valid. It takes about 1 ms for each
// statement.
const plansFor = 10 * time.Minute

// plans are the results of the last check of all contracts.
type plans struct {
	mu       sync.Mutex
	checked  time.Time // zero before the first check
	problems map[string]string
	problem  string // why they could not be checked
	checking bool
	tried    time.Time
}

func (p *plans) contract(s *postgres.Statement) Contract {
	if s.Plan == "" || s.DerivedFrom != "" {
		return Contract{State: "none"}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	problem, broken := p.problems[s.Name]
	switch {
	case p.checked.IsZero():
		return Contract{State: "unchecked"}
	case broken:
		return Contract{"broken", problem}
	}
	return Contract{State: "holds"}
}

func (p *plans) state() (checked *time.Time, problem string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.checked.IsZero() {
		checked = new(p.checked)
	}
	return checked, p.problem
}

// refresh checks in the background if the last check is old. After a failure, it tries again
// after some seconds.
func (p *plans) refresh(c *Console, router *postgres.Router) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.checking || time.Since(p.checked) < plansFor || time.Since(p.tried) < healthMost || c.closing.Err() != nil {
		return
	}
	p.checking = true
	go func() {
		ctx, cancel := context.WithTimeout(c.closing, apiTimeout)
		defer cancel()
		p.check(ctx, router)
	}()
}

// check checks all contracts.
func (p *plans) check(ctx context.Context, router *postgres.Router) {
	problems := map[string]string{}
	cfg := router.Config()
	config, err := planConfig(cfg)
	if err == nil {
		var found []proof.Problem
		found, err = proof.Plans(ctx, config, cfg.Statements)
		for _, x := range found {
			problems[x.Statement.Name] = x.Text
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.checking, p.tried = false, time.Now()
	if err != nil {
		p.problem = problemOf(postgres.WrapError("check the plans", err)).Detail
		return
	}
	p.checked, p.problems, p.problem = p.tried.UTC(), problems, ""
}

// planConfig returns the configuration of a connection for plans, which needs a session.
func planConfig(cfg postgres.Config) (*pgx.ConnConfig, error) {
	if cfg.Pooler == postgres.PoolerTransaction {
		return nil, errors.New("plans are not read through a pooler, which shares sessions: use `server doctor` with a direct connection")
	}
	config, _, err := cfg.ConnConfig()
	return config, err
}

// PlanCheck is the result of checking all contracts.
type PlanCheck struct {
	Checked  *time.Time        `json:"checked"`
	Problem  string            `json:"problem"`
	Broken   map[string]string `json:"broken"` // by statement
	Declared int               `json:"declared"`
}

func (c *Console) checkPlans(w http.ResponseWriter, r *http.Request, router *postgres.Router) {
	c.plans.check(r.Context(), router)
	c.getPlans(w, r, router)
}

func (c *Console) getPlans(w http.ResponseWriter, _ *http.Request, router *postgres.Router) {
	v := PlanCheck{Broken: map[string]string{}}
	v.Checked, v.Problem = c.plans.state()
	for _, s := range router.Config().Statements {
		switch contract := c.plans.contract(&s); contract.State {
		case "none":
			continue
		case "broken":
			v.Broken[s.Name] = contract.Problem
		}
		v.Declared++
	}
	writeJSON(w, v)
}

// PlanNode is a node of a plan. Rows and costs are the planner's estimates.
type PlanNode struct {
	Title      string          `json:"title"`
	Index      string          `json:"index"`
	Relation   string          `json:"relation"`
	Sequential bool            `json:"sequential"` // it reads the whole table
	Cost       float64         `json:"cost"`
	Rows       float64         `json:"rows"`
	Conditions []PlanCondition `json:"conditions"`
	Plans      []PlanNode      `json:"plans"`
}

// PlanCondition is a condition or a sort key.
type PlanCondition struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

// StatementPlan is the generic plan of a statement with the statistics that the database has
// now.
type StatementPlan struct {
	Root       PlanNode `json:"root"`
	Indexes    []string `json:"indexes"`
	Sequential []string `json:"sequential"` // tables that are read as a whole
}

func (c *Console) getPlan(w http.ResponseWriter, r *http.Request, router *postgres.Router) {
	s := c.find(router, r)
	if s == nil {
		noStatement.write(w)
		return
	}
	config, err := planConfig(router.Config())
	if err != nil {
		problemOf(err).write(w)
		return
	}
	root, err := proof.LivePlan(r.Context(), config, *s)
	if err != nil {
		problemOf(postgres.WrapError("plan "+s.Name, err)).write(w)
		return
	}
	v := StatementPlan{Indexes: []string{}, Sequential: []string{}}
	v.Root = v.node(root)
	writeJSON(w, v)
}

// node converts a node and those below it, and notes what they read.
func (p *StatementPlan) node(n proof.PlanNode) PlanNode {
	v := PlanNode{
		Title: n.Title(), Index: n.Index, Relation: n.Relation, Sequential: n.Type == "Seq Scan",
		Cost: n.Cost, Rows: n.Rows, Conditions: []PlanCondition{}, Plans: []PlanNode{},
	}
	if n.Index != "" && !slices.Contains(p.Indexes, n.Index) {
		p.Indexes = append(p.Indexes, n.Index)
	}
	if v.Sequential && !slices.Contains(p.Sequential, n.Relation) {
		p.Sequential = append(p.Sequential, n.Relation)
	}
	for _, condition := range n.Conditions() {
		v.Conditions = append(v.Conditions, PlanCondition(condition))
	}
	for _, below := range n.Plans {
		v.Plans = append(v.Plans, p.node(below))
	}
	return v
}
