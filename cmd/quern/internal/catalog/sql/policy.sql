SELECT 'policy' AS kind, format('%s.%I', c.name, p.polname) AS name, c.name AS parent, ARRAY['definition', d.definition]::text[] AS attrs,
       format('CREATE POLICY %I ON %s %s', p.polname, c.name, d.definition) AS create_sql,
       format('DROP POLICY %I ON %s', p.polname, c.name) AS drop_sql
FROM pg_policy AS p
JOIN own_relations AS c ON c.oid = p.polrelid
CROSS JOIN LATERAL (
    SELECT format('AS %s FOR %s TO %s%s%s', CASE WHEN p.polpermissive THEN 'PERMISSIVE' ELSE 'RESTRICTIVE' END,
                  CASE p.polcmd WHEN 'r' THEN 'SELECT' WHEN 'a' THEN 'INSERT' WHEN 'w' THEN 'UPDATE' WHEN 'd' THEN 'DELETE' ELSE 'ALL' END,
                  (SELECT string_agg(CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END, ', ' ORDER BY CASE r WHEN 0 THEN 'PUBLIC' ELSE r::regrole::text END) FROM unnest(p.polroles) AS r),
                  coalesce(' USING (' || pg_get_expr(p.polqual, p.polrelid) || ')', ''),
                  coalesce(' WITH CHECK (' || pg_get_expr(p.polwithcheck, p.polrelid) || ')', '')) AS definition
) AS d
