package scaffold

import (
	"strconv"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"quern/pgtest"
)

// TestMain stops the server that the tests start.
func TestMain(m *testing.M) { pgtest.Main(m) }

// TestReadBounds reads the bounds that types and CHECKs set, and none from a condition that need
// not hold or that it cannot read.
func TestReadBounds(t *testing.T) {
	t.Parallel()
	const migration = `-- +goose Up
CREATE DOMAIN nick AS varchar(30) CHECK (char_length(VALUE) >= 3);
CREATE TABLE limits (
    id        bigint PRIMARY KEY,
    between_  text CHECK (char_length(between_) BETWEEN 1 AND 2000),
    "Quoted"  text CHECK (length("Quoted") > 1 AND length("Quoted") < 10),
    limited   varchar(40) CHECK (char_length(limited) >= 2),
    stricter  varchar(40) CHECK (char_length(stricter) <= 20),
    looser    varchar(40) CHECK (char_length(looser) <= 50),
    fixed     char(3),
    equal     text CHECK (char_length(equal) = 2),
    nick      nick,
    stars     smallint CHECK (stars BETWEEN 1 AND 5),
    below     integer CHECK (below > -10 AND below < 10),
    big       bigint CHECK (big <= 10000000000),
    huge      bigint CHECK (huge <= 9223372036854775807),
    anded     text CHECK (anded <> 'x AND (y' AND char_length(anded) <= 5),
    ored      integer CHECK (ored < 1 OR ored > 5),
    negated   integer CHECK (NOT (negated >= 1 AND negated <= 5)),
    octets    text CHECK (octet_length(octets) <= 5),
    other     integer CHECK (other <= stars)
);
ALTER TABLE limits ADD late integer, ADD CONSTRAINT limits_late CHECK (late >= 1) NOT VALID;
-- +goose Down
`
	conn, err := pgx.Connect(t.Context(), pgtest.URL(t, fstest.MapFS{"00001_create.sql": {Data: []byte(migration)}}))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	table, err := readTable(t.Context(), conn, "limits")
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"between_": "1 2000", "Quoted": "2 9", "limited": "2 40", "stricter": "- 20", "looser": "- 40", "fixed": "- 3", "equal": "2 2",
		"nick": "3 30", "stars": "1 5", "below": "-9 9", "big": "- 10000000000", "anded": "- 5", "late": "1 -",
	}
	show := func(n *int64) string {
		if n == nil {
			return "-"
		}
		return strconv.FormatInt(*n, 10)
	}
	for _, c := range table.columns {
		expected := want[c.name]
		if expected == "" {
			expected = "- -"
		}
		if got := show(c.bounds.least) + " " + show(c.bounds.most); got != expected {
			t.Errorf("%s has the bounds %s, want %s", c.name, got, expected)
		}
	}
}

// TestUnlisted names the references without an index, and the index that each needs.
func TestUnlisted(t *testing.T) {
	t.Parallel()
	a, b, id := &column{name: "a", quoted: "a"}, &column{name: "order", quoted: `"order"`}, &column{name: "id", quoted: "id"}
	notes := &table{schema: "public", name: "notes", columns: []*column{a, b, id}, key: []*column{a, id}, foreign: []foreignKey{
		{columns: []*column{b}}, {columns: []*column{b}}, {columns: []*column{a, b}}, {columns: []*column{a}, index: "notes_pkey"},
	}}
	want := []string{
		`notes."order" has no index, so there is no list by it: CREATE INDEX ON notes ("order", a, id)`,
		`notes (a, "order") has no index, so there is no list by it: CREATE INDEX ON notes (a, "order", id)`,
	}
	if diff := cmp.Diff(want, notes.unlisted()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
