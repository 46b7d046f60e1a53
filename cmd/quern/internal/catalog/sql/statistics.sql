SELECT 'statistics' AS kind, n.name, c.name AS parent, ARRAY['definition', pg_get_statisticsobjdef(x.oid)]::text[] AS attrs,
       pg_get_statisticsobjdef(x.oid) AS create_sql,
       format('DROP STATISTICS %s', n.name) AS drop_sql
FROM pg_statistic_ext AS x
JOIN own_relations AS c ON c.oid = x.stxrelid
JOIN pg_namespace AS s ON s.oid = x.stxnamespace
CROSS JOIN LATERAL (SELECT format('%I.%I', s.nspname, x.stxname) AS name) AS n
