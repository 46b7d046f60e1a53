-- What others than the owner may do.
SELECT 'grant' AS kind, format('%s ON %s TO %s', a.privilege_type, o.name, r.name) AS name, o.parent, '{}'::text[] AS attrs,
       format('GRANT %s ON %s TO %s', a.privilege_type, o.name, r.name) AS create_sql,
       format('REVOKE %s ON %s FROM %s', a.privilege_type, o.name, r.name) AS drop_sql
FROM (
    SELECT CASE c.relkind WHEN 'S' THEN 'SEQUENCE ' ELSE 'TABLE ' END || c.name AS name, c.name AS parent, c.relowner AS owner,
           coalesce(c.relacl, acldefault(CASE c.relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", c.relowner)) AS acl
    FROM own_relations AS c
    WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    UNION ALL
    SELECT format('SCHEMA %I', s.nspname), format('%I', s.nspname), s.nspowner, coalesce(s.nspacl, acldefault('n', s.nspowner))
    FROM own_schemas AS s
    WHERE s.nspname <> 'public'
    UNION ALL
    SELECT format('%s %I.%I(%s)', CASE p.prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, s.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
           format('%I.%I(%s)', s.nspname, p.proname, pg_get_function_identity_arguments(p.oid)), p.proowner, coalesce(p.proacl, acldefault('f', p.proowner))
    FROM pg_proc AS p
    JOIN own_schemas AS s ON s.oid = p.pronamespace
    WHERE NOT EXISTS (SELECT FROM members AS m WHERE m.classid = 'pg_proc'::regclass AND m.objid = p.oid)
      AND NOT EXISTS (SELECT FROM pg_depend AS d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'i')
) AS o
CROSS JOIN LATERAL aclexplode(o.acl) AS a
CROSS JOIN LATERAL (SELECT CASE a.grantee WHEN 0 THEN 'PUBLIC' ELSE a.grantee::regrole::text END AS name) AS r
WHERE a.grantee <> o.owner
