-- The index of a constraint is the constraint's, and that of a partition its parent's.
-- An INVALID one is named wherever it is: it costs each write, and serves no read.
SELECT 'index' AS kind, i.name, c.name AS parent,
       ARRAY['definition', pg_get_indexdef(x.indexrelid), 'valid', x.indisvalid::text,
             'storage parameters', coalesce((SELECT string_agg(o, ', ' ORDER BY o) FROM unnest(i.reloptions) AS o), '')]::text[] AS attrs,
       -- ONLY would leave the partitions without it, and it INVALID.
       CASE i.relkind WHEN 'I' THEN replace(pg_get_indexdef(x.indexrelid), ' ON ONLY ', ' ON ') ELSE pg_get_indexdef(x.indexrelid) END AS create_sql,
       format('DROP INDEX %s', i.name) AS drop_sql
FROM pg_index AS x
JOIN own_relations AS i ON i.oid = x.indexrelid
JOIN own_relations AS c ON c.oid = x.indrelid
WHERE NOT x.indisvalid AND c.relkind <> 'p'
   OR NOT i.relispartition AND NOT EXISTS (SELECT FROM pg_constraint AS k WHERE k.conindid = x.indexrelid AND k.contype IN ('p', 'u', 'x'))
