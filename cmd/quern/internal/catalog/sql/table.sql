-- The columns of a table are separate objects: create_sql is completed with them.
SELECT c.kind, c.name, format('%I', c.nspname) AS parent,
       ARRAY['unlogged', (c.relpersistence = 'u')::text,
             'partition key', coalesce(pg_get_partkeydef(c.oid), ''),
             'partition of', coalesce(p.parents, ''),
             'row security', CASE WHEN c.relforcerowsecurity THEN 'forced' WHEN c.relrowsecurity THEN 'enabled' ELSE 'off' END,
             'replica identity', CASE c.relreplident WHEN 'f' THEN 'full' WHEN 'n' THEN 'nothing' WHEN 'i' THEN 'index ' || coalesce((
                 SELECT i.indexrelid::regclass::text FROM pg_index AS i WHERE i.indrelid = c.oid AND i.indisreplident), '') ELSE 'default' END,
             'storage parameters', coalesce((SELECT string_agg(o, ', ' ORDER BY o) FROM unnest(c.reloptions) AS o), '')]::text[] AS attrs,
       format('CREATE %sTABLE %s', CASE c.relpersistence WHEN 'u' THEN 'UNLOGGED ' ELSE '' END, c.name) AS create_sql,
       format('DROP %s %s', upper(c.kind), c.name) AS drop_sql
FROM own_relations AS c
CROSS JOIN LATERAL (
    SELECT string_agg(i.inhparent::regclass::text || coalesce(' ' || pg_get_expr(c.relpartbound, c.oid), ''), ', ' ORDER BY i.inhseqno) AS parents
    FROM pg_inherits AS i
    WHERE i.inhrelid = c.oid
) AS p
WHERE c.relkind IN ('r', 'p', 'f')
