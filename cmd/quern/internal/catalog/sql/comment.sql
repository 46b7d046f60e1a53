SELECT 'comment' AS kind, i.type || ' ' || i.identity AS name, i.identity AS parent, ARRAY['text', d.description]::text[] AS attrs,
       k.create_sql, k.drop_sql
FROM pg_description AS d
CROSS JOIN LATERAL pg_identify_object(d.classoid, d.objoid, d.objsubid) AS i
CROSS JOIN LATERAL (
    SELECT CASE i.type
               WHEN 'table column' THEN 'COLUMN ' || i.identity
               WHEN 'view column' THEN 'COLUMN ' || i.identity
               WHEN 'materialized view column' THEN 'COLUMN ' || i.identity
               WHEN 'table constraint' THEN 'CONSTRAINT ' || i.identity
               WHEN 'composite type' THEN 'TYPE ' || i.identity
               WHEN 'domain constraint' THEN regexp_replace(i.identity, '^(.*) on (.*)$', 'CONSTRAINT \1 ON DOMAIN \2')
               ELSE upper(i.type) || ' ' || i.identity
           END AS object
) AS o
CROSS JOIN LATERAL (
    SELECT format('COMMENT ON %s IS %L', o.object, d.description) AS create_sql, format('COMMENT ON %s IS NULL', o.object) AS drop_sql
) AS k
WHERE (i.schema IS NULL AND i.type = 'schema' AND i.identity <> 'public' OR i.schema IN (SELECT quote_ident(nspname) FROM own_schemas)
       OR i.type IN ('table constraint', 'trigger', 'rule', 'policy', 'domain constraint'))
  AND d.objoid >= 16384
  AND NOT EXISTS (SELECT FROM members AS m WHERE m.classid = d.classoid AND m.objid = d.objoid)
  AND i.identity !~ '(^|\.)(goose_db_version|migration_history)'
