-- The sequence of an identity column is known by its column: its name has no meaning, and
-- stays when the table is renamed.
SELECT CASE o.deptype WHEN 'i' THEN 'identity' ELSE 'sequence' END AS kind, CASE o.deptype WHEN 'i' THEN o.owner ELSE c.name END AS name, format('%I', c.nspname) AS parent,
       ARRAY['type', format_type(q.seqtypid, NULL), 'start', q.seqstart::text, 'increment', q.seqincrement::text, 'minimum', q.seqmin::text,
             'maximum', q.seqmax::text, 'cache', q.seqcache::text, 'cycle', q.seqcycle::text, 'owned by', coalesce(o.owner, '')]::text[] AS attrs,
       CASE WHEN o.deptype = 'i' THEN '' ELSE
           format('CREATE SEQUENCE %s AS %s INCREMENT BY %s MINVALUE %s MAXVALUE %s START WITH %s CACHE %s%s', c.name, format_type(q.seqtypid, NULL),
                  q.seqincrement, q.seqmin, q.seqmax, q.seqstart, q.seqcache, CASE WHEN q.seqcycle THEN ' CYCLE' ELSE '' END) END AS create_sql,
       CASE WHEN o.deptype = 'i' THEN '' ELSE format('DROP SEQUENCE %s', c.name) END AS drop_sql
FROM own_relations AS c
JOIN pg_sequence AS q ON q.seqrelid = c.oid
LEFT JOIN LATERAL (
    SELECT format('%s.%I', r.name, a.attname) AS owner, d.deptype
    FROM pg_depend AS d
    JOIN own_relations AS r ON r.oid = d.refobjid
    JOIN pg_attribute AS a ON a.attrelid = d.refobjid AND a.attnum = d.refobjsubid
    WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass AND d.deptype IN ('a', 'i')
) AS o ON true
