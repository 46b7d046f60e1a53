package proof_test

import (
	"strings"
	"testing"

	"quern/internal/proof"
	"quern/pgtest"
	"quern/postgres"
)

const shop = `
	CREATE TABLE shops (id bigint PRIMARY KEY, name text NOT NULL);
	CREATE TABLE orders (shop_id bigint REFERENCES shops, id bigint, customer text NOT NULL, placed timestamptz NOT NULL, code text NOT NULL UNIQUE, PRIMARY KEY (shop_id, id));
	CREATE INDEX orders_customer_idx ON orders (customer);
	CREATE INDEX orders_placed_idx ON orders (placed);
	CREATE INDEX shops_lower_idx ON shops (lower(name));
	CREATE INDEX shops_name_idx ON shops (name);
	CREATE TABLE lines (shop_id bigint, order_id bigint, n integer, PRIMARY KEY (shop_id, order_id, n), FOREIGN KEY (shop_id, order_id) REFERENCES orders);
`

func TestVet(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	exec(t, url, shop)
	many := func(sql string) postgres.Statement {
		s := statement(sql, "", "id bigint!")
		s.Kind = postgres.Many
		return s
	}
	stream := many("SELECT id FROM orders")
	stream.Stream = true
	excepted := many("SELECT id FROM orders")
	excepted.Doc = "All lists them.\n\nquern:allow no-limit: a shop has few orders."
	unreasoned := many("SELECT id FROM orders")
	unreasoned.Doc = "quern:allow no-limit:"
	otherRule := many("SELECT id FROM orders")
	otherRule.Doc = "quern:allow no-where: a shop has few orders."
	one := many("SELECT id FROM orders WHERE customer = $1")
	one.Kind = postgres.One
	for _, tt := range []struct {
		s    postgres.Statement
		want string
	}{
		{many("SELECT id FROM orders"), "no-limit"},
		{many("SELECT id FROM orders LIMIT $1"), ""},
		{many("SELECT id FROM orders WHERE customer = $1"), "no-limit"},
		{many("SELECT id FROM orders WHERE shop_id = $1 AND id = ANY($2::bigint[])"), ""},
		{many("SELECT id FROM orders WHERE shop_id = $1"), "no-limit"},
		{many("SELECT id FROM orders WHERE code = ANY($1::text[])"), ""},
		{many("SELECT o.id FROM unnest($1::bigint[]) AS g (id) JOIN orders AS o ON o.id = g.id AND o.shop_id = $2"), ""},
		{many("SELECT o.id FROM unnest($1::bigint[]) AS g (id) JOIN orders AS o ON o.shop_id = g.id"), "no-limit"},
		{many("SELECT s.id FROM lines AS l JOIN orders AS o USING (shop_id) JOIN shops AS s ON s.id = o.shop_id WHERE l.shop_id = $1 AND l.order_id = $2 AND l.n = $3 AND o.id = l.order_id"), ""},
		{many("SELECT count(*) FROM orders"), ""},
		{many("SELECT customer FROM orders GROUP BY customer"), "no-limit"},
		{many("SELECT id FROM (SELECT id FROM orders ORDER BY id LIMIT 5) AS few"), ""},
		{many("SELECT o.id FROM (SELECT id FROM orders ORDER BY id LIMIT 5) AS few JOIN orders o ON true"), "no-limit"},
		{many("(SELECT id FROM orders LIMIT 5) UNION ALL (SELECT id FROM orders LIMIT 5)"), ""},
		{many("(SELECT id FROM orders LIMIT 5) UNION ALL SELECT id FROM orders"), "no-limit"},
		{many("WITH RECURSIVE c (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 5) SELECT n FROM c"), ""},
		{many("WITH c AS (SELECT id FROM orders) SELECT id FROM c"), "no-limit"},
		{many("INSERT INTO shops (id, name) SELECT g, '' FROM unnest($1::bigint[]) AS g RETURNING id"), ""},
		{many("SELECT l.shop_id FROM (VALUES (1)) AS v (n) LEFT JOIN lines AS l ON l.n = v.n AND l.shop_id = $1 AND l.order_id = $2"), ""},
		{many("SELECT id FROM orders WHERE code = ANY(ARRAY(SELECT name FROM shops ORDER BY id LIMIT $1))"), ""},
		{many("SELECT id FROM orders WHERE code = ANY(ARRAY(SELECT name FROM shops))"), "no-limit"},
		{many("SELECT id FROM orders WHERE code IN (SELECT name FROM shops ORDER BY id LIMIT $1)"), ""},
		{many("SELECT id FROM orders WHERE code IN (SELECT name FROM shops)"), "no-limit"},
		{many("SELECT d, c.n FROM generate_series(1, $1::int) AS d LEFT JOIN (SELECT n, count(*) FROM lines GROUP BY n) AS c ON c.n = d"), ""},
		{many("WITH c AS (SELECT n, order_id FROM lines GROUP BY n, order_id) SELECT d, c.n FROM generate_series(1, $1::int) AS d LEFT JOIN c ON c.n = d"), "no-limit"},
		{many("SELECT pg_backend_pid()"), ""},
		{stream, ""},
		{excepted, ""},
		{unreasoned, "no-limit"},
		{otherRule, "no-limit"},
		{one, ""},
		{statement("UPDATE orders SET customer = ''", "", ""), "updates every row of orders"},
		{statement("DELETE FROM orders", "", ""), "deletes every row of orders"},
		{statement("DELETE FROM orders WHERE true", "", ""), "no-where"},
		{statement("DELETE FROM orders WHERE id = $1", "id bigint", ""), ""},
		{statement("DELETE FROM orders USING shops AS s WHERE s.id = shop_id", "", ""), ""},
		{statement("WITH gone AS (DELETE FROM lines RETURNING n) DELETE FROM orders WHERE id IN (SELECT n FROM gone)", "", ""), "deletes every row of lines"},
		{statement("UPDATE orders SET customer = '' WHERE EXISTS (SELECT FROM shops WHERE id = $1)", "id bigint", ""), ""},
		{many("SELECT id FROM orders WHERE lower(customer) = $1 LIMIT 1"), "compares a function of orders.customer"},
		{many("SELECT id FROM orders WHERE placed::date = $1 LIMIT 1"), "orders_placed_idx"},
		{many("SELECT o.id FROM shops s JOIN orders o ON lower(o.customer) = s.name LIMIT 1"), "function-on-index"},
		{many("SELECT id FROM shops WHERE lower(name) = $1 LIMIT 1"), ""},
		{many("SELECT id FROM shops WHERE upper(name) = $1 LIMIT 1"), "function-on-index"},
		{many("SELECT id FROM orders WHERE customer = lower($1) LIMIT 1"), ""},
		{many("SELECT id FROM orders WHERE placed > now() LIMIT 1"), ""},
		{many("SELECT id FROM orders WHERE id = $1::int LIMIT 1"), ""},
		{many("SELECT id FROM orders WHERE starts_with(customer, $1) LIMIT 1"), ""},
	} {
		findings, err := proof.Vet(t.Context(), url, []postgres.Statement{tt.s})
		if err != nil {
			t.Errorf("%s: %v", tt.s.SQL, err)
			continue
		}
		var got []string
		for _, f := range findings {
			got = append(got, f.String())
		}
		all := strings.Join(got, "\n")
		if (tt.want == "") != (all == "") || !strings.Contains(all, tt.want) {
			t.Errorf("%s %q: found %q, want %q", tt.s.SQL, tt.s.Doc, all, tt.want)
		}
	}
}

func TestVetSharded(t *testing.T) {
	t.Parallel()
	url := pgtest.EmptyURL(t)
	exec(t, url, shop+"CREATE TABLE notes (shop_id bigint PRIMARY KEY, order_id bigint, customer text, FOREIGN KEY (order_id, shop_id) REFERENCES orders (shop_id, id));")
	for _, tt := range []struct{ sql, want string }{
		{"SELECT id FROM orders WHERE shop_id = $1 AND id = $2", ""},
		{"SELECT id FROM orders WHERE id = $1", "all-shards"},
		{"SELECT o.id FROM orders o JOIN lines l ON l.shop_id = o.shop_id AND l.order_id = o.id WHERE o.shop_id = $1", ""},
		{"SELECT o.id FROM orders o JOIN lines l USING (shop_id) WHERE l.shop_id = $1", ""},
		{"SELECT o.id FROM orders o JOIN lines l ON l.order_id = o.id WHERE o.shop_id = $1", "shard-join"},
		{"SELECT o.id FROM orders o JOIN lines l ON l.order_id = o.id WHERE o.shop_id = $1 AND l.shop_id = $1", ""},
		{"SELECT o.id FROM orders o JOIN shops s ON s.id = o.shop_id WHERE o.shop_id = $1", ""},
		{"SELECT id FROM shops WHERE id = $1", ""},
		{"SELECT s.id FROM shops s WHERE EXISTS (SELECT FROM orders o WHERE o.shop_id = s.id)", ""},
		{"SELECT id FROM orders o WHERE o.shop_id = $1 AND EXISTS (SELECT FROM lines l WHERE l.shop_id = o.shop_id)", ""},
		{"SELECT id FROM orders o WHERE o.shop_id = $1 AND EXISTS (SELECT FROM lines l WHERE l.n = o.id)", "all-shards"},
		{"INSERT INTO orders (id, customer, placed, code) VALUES ($1, '', now(), '')", "without shop_id"},
		{"INSERT INTO orders (shop_id, id, customer, placed, code) VALUES ($1, $2, '', now(), '')", ""},
		{"UPDATE orders SET shop_id = $1 WHERE shop_id = $2", "shard-key"},
		{"UPDATE orders SET customer = '' WHERE shop_id = $1", ""},
		{"UPDATE orders SET customer = '' WHERE id = $1", "all-shards"},
		{"DELETE FROM lines USING orders o WHERE o.shop_id = lines.shop_id AND o.shop_id = $1", ""},
		{"DELETE FROM lines USING orders o WHERE o.id = lines.order_id AND o.shop_id = $1", "shard-join"},
	} {
		findings, err := proof.VetSharded(t.Context(), url, []postgres.Statement{statement(tt.sql, "", "")}, "shop_id")
		if err != nil {
			t.Errorf("%s: %v", tt.sql, err)
			continue
		}
		var schema, got []string
		for _, f := range findings {
			if f.Statement.Name == "" {
				schema = append(schema, f.String())
			} else {
				got = append(got, f.String())
			}
		}
		if all := strings.Join(got, "\n"); (tt.want == "") != (all == "") || !strings.Contains(all, tt.want) {
			t.Errorf("%s: found %q, want %q", tt.sql, all, tt.want)
		}
		all := strings.Join(schema, "\n")
		if len(schema) != 2 || !strings.Contains(all, "index orders_code_key of orders lacks shop_id") || !strings.Contains(all, "foreign key notes_order_id_shop_id_fkey of notes to orders") {
			t.Errorf("the schema: %s", all)
		}
	}
}
