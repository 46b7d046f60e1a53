-- NOT NULL belongs to the column, although PostgreSQL 18 lists it here too, unless it is
-- NOT VALID. The constraints that a partition inherits belong to its parent.
SELECT 'constraint' AS kind, format('%s.%I', p.name, k.conname) AS name, p.name AS parent,
       ARRAY['definition', regexp_replace(pg_get_constraintdef(k.oid), ' NOT VALID$', ''), 'validated', k.convalidated::text]::text[] AS attrs,
       format('ALTER %s %s ADD CONSTRAINT %I %s', p.kind, p.name, k.conname, pg_get_constraintdef(k.oid)) AS create_sql,
       format('ALTER %s %s DROP CONSTRAINT %I', p.kind, p.name, k.conname) AS drop_sql
FROM pg_constraint AS k
JOIN LATERAL (
    SELECT c.name, CASE c.kind WHEN 'table' THEN 'TABLE' ELSE upper(c.kind) END AS kind
    FROM own_relations AS c
    WHERE c.oid = k.conrelid
    UNION ALL
    SELECT format('%I.%I', s.nspname, t.typname), 'DOMAIN'
    FROM pg_type AS t
    JOIN own_schemas AS s ON s.oid = t.typnamespace
    WHERE t.oid = k.contypid
) AS p ON true
WHERE (k.contype IN ('p', 'u', 'c', 'f', 'x') OR k.contype = 'n' AND NOT k.convalidated) AND k.coninhcount = 0 AND k.conparentid = 0
