SELECT 'trigger' AS kind, format('%s.%I', c.name, g.tgname) AS name, c.name AS parent,
       ARRAY['definition', pg_get_triggerdef(g.oid), 'enabled', CASE g.tgenabled WHEN 'O' THEN 'yes' WHEN 'D' THEN 'no' WHEN 'A' THEN 'always' ELSE 'replica' END]::text[] AS attrs,
       pg_get_triggerdef(g.oid) AS create_sql,
       format('DROP TRIGGER %I ON %s', g.tgname, c.name) AS drop_sql
FROM pg_trigger AS g
JOIN own_relations AS c ON c.oid = g.tgrelid
WHERE NOT g.tgisinternal AND g.tgparentid = 0
