SELECT 'rule' AS kind, format('%s.%I', c.name, r.rulename) AS name, c.name AS parent,
       ARRAY['definition', pg_get_ruledef(r.oid)]::text[] AS attrs,
       rtrim(pg_get_ruledef(r.oid), ';') AS create_sql,
       format('DROP RULE %I ON %s', r.rulename, c.name) AS drop_sql
FROM pg_rewrite AS r
JOIN own_relations AS c ON c.oid = r.ev_class
WHERE r.rulename <> '_RETURN'
