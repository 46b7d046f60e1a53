//go:build linux

package faults

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"quern/postgres"
)

// TestHistories_DocumentedGrants uses the role of docs/operations.md, which has only
// the documented GRANTs. Without the GRANT on server_histories only the primary
// answers its reads. With it the replica does.
func TestHistories_DocumentedGrants(t *testing.T) {
	checkLeaks(t)
	c := newCluster(t, clusterConfig{standbys: 1})
	own := func(sql string) {
		t.Helper()
		if err := c.primary.exec(t.Context(), database, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	own("REVOKE ALL ON SCHEMA public FROM PUBLIC")
	var histories string
	for _, sql := range documentedRole(t) {
		if strings.Contains(sql, "server_histories") {
			histories = sql
			continue
		}
		own(strings.Replace(sql, "'…'", "'"+c.primary.lab.password+"'", 1))
	}
	p := proxyTo(t, c.standbys[0].address())
	cfg := postgres.Config{
		URL:         appURL(t, c.primary, c.primary.address()),
		ReplicaURLs: []string{appURL(t, c.primary, p.address())}, MaxConns: 8, MinConns: 2,
	}
	_, q := connect(t, cfg)
	readOwnWrites(t, q, q, 100, 0).check(t)
	if n := served(p); n > 0 {
		t.Errorf("the replica answered %d reads before the GRANT on server_histories", n)
	}
	if _, err := postgres.InspectReplicas(t.Context(), cfg); err == nil || !strings.Contains(err.Error(), "server_histories") {
		t.Errorf("InspectReplicas returned %v, want the missing GRANT", err)
	}

	if histories == "" {
		t.Fatal("docs/operations.md has no GRANT on server_histories")
	}
	own(histories)
	t.Logf("the replica answers reads %v after the GRANT", awaitReads(t, q, p, startLimit))
	readOwnWrites(t, q, q, 100, 0).check(t)
}

// documentedRole returns the statements of docs/operations.md that create a role
// with the least privileges.
func documentedRole(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```sql\n(CREATE ROLE app .*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatal("docs/operations.md has no statements that make the role app")
	}
	return strings.Split(strings.TrimSpace(string(block[1])), "\n")
}
