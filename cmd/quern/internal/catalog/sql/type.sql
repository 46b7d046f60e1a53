SELECT CASE t.typtype WHEN 'e' THEN 'enum' WHEN 'd' THEN 'domain' WHEN 'c' THEN 'composite type' ELSE 'range type' END AS kind,
       n.name, format('%I', s.nspname) AS parent, d.attrs,
       CASE t.typtype
           WHEN 'e' THEN format('CREATE TYPE %s AS ENUM (%s)', n.name, d.body)
           WHEN 'd' THEN format('CREATE DOMAIN %s AS %s', n.name, d.body)
           WHEN 'c' THEN format('CREATE TYPE %s AS (%s)', n.name, d.body)
           ELSE format('CREATE TYPE %s AS RANGE (%s)', n.name, d.body)
       END AS create_sql,
       format('DROP %s %s', CASE t.typtype WHEN 'd' THEN 'DOMAIN' ELSE 'TYPE' END, n.name) AS drop_sql
FROM pg_type AS t
JOIN own_schemas AS s ON s.oid = t.typnamespace
LEFT JOIN pg_class AS c ON c.oid = t.typrelid
CROSS JOIN LATERAL (SELECT format('%I.%I', s.nspname, t.typname) AS name) AS n
CROSS JOIN LATERAL (
    SELECT string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder) AS labels
    FROM pg_enum AS e
    WHERE e.enumtypid = t.oid
) AS l
CROSS JOIN LATERAL (
    SELECT string_agg(format('%I %s', a.attname, format_type(a.atttypid, a.atttypmod)), ', ' ORDER BY a.attnum) AS columns
    FROM pg_attribute AS a
    WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped
) AS m
LEFT JOIN pg_range AS r ON r.rngtypid = t.oid
CROSS JOIN LATERAL (
    SELECT CASE t.typtype
               WHEN 'e' THEN ARRAY['labels', coalesce(l.labels, '')]
               WHEN 'd' THEN ARRAY['type', format_type(t.typbasetype, t.typtypmod), 'default', coalesce(t.typdefault, ''), 'not null', t.typnotnull::text,
                                   'collation', CASE WHEN t.typcollation NOT IN (0, (SELECT b.typcollation FROM pg_type AS b WHERE b.oid = t.typbasetype))
                                                     THEN t.typcollation::regcollation::text ELSE '' END]
               WHEN 'c' THEN ARRAY['attributes', coalesce(m.columns, '')]
               ELSE ARRAY['subtype', format_type(r.rngsubtype, NULL)]
           END AS attrs,
           CASE t.typtype
               WHEN 'e' THEN coalesce(l.labels, '')
               WHEN 'd' THEN format_type(t.typbasetype, t.typtypmod)
                   || CASE WHEN t.typcollation NOT IN (0, (SELECT b.typcollation FROM pg_type AS b WHERE b.oid = t.typbasetype))
                           THEN ' COLLATE ' || t.typcollation::regcollation::text ELSE '' END
                   || coalesce(' DEFAULT ' || t.typdefault, '') || CASE WHEN t.typnotnull THEN ' NOT NULL' ELSE '' END
               WHEN 'c' THEN coalesce(m.columns, '')
               ELSE 'SUBTYPE = ' || format_type(r.rngsubtype, NULL)
           END AS body
) AS d
WHERE (t.typtype IN ('e', 'd', 'r') OR t.typtype = 'c' AND c.relkind = 'c')
  AND NOT EXISTS (SELECT FROM members AS x WHERE x.classid = 'pg_type'::regclass AND x.objid = t.oid)
