SELECT CASE p.prokind WHEN 'p' THEN 'procedure' WHEN 'a' THEN 'aggregate' ELSE 'function' END AS kind, n.name, format('%I', s.nspname) AS parent,
       ARRAY['definition', f.definition]::text[] AS attrs,
       CASE p.prokind WHEN 'a' THEN '' ELSE f.definition END AS create_sql,
       format('DROP %s %s', CASE p.prokind WHEN 'p' THEN 'PROCEDURE' WHEN 'a' THEN 'AGGREGATE' ELSE 'FUNCTION' END, n.name) AS drop_sql
FROM pg_proc AS p
JOIN own_schemas AS s ON s.oid = p.pronamespace
CROSS JOIN LATERAL (SELECT format('%I.%I(%s)', s.nspname, p.proname, pg_get_function_identity_arguments(p.oid)) AS name) AS n
CROSS JOIN LATERAL (
    SELECT CASE p.prokind
               WHEN 'a' THEN (SELECT format('state %s %s, final %s, start %s', a.aggtransfn::regproc, format_type(a.aggtranstype, NULL), a.aggfinalfn::regproc, coalesce(a.agginitval, 'NULL'))
                              FROM pg_aggregate AS a WHERE a.aggfnoid = p.oid)
               ELSE rtrim(pg_get_functiondef(p.oid), E'\n')
           END AS definition
) AS f
WHERE NOT EXISTS (SELECT FROM members AS m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
  -- The constructors of a range type come and go with it.
  AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')
