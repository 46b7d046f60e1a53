SELECT c.kind, c.name, format('%I', c.nspname) AS parent,
       ARRAY['definition', pg_get_viewdef(c.oid),
             'options', coalesce((SELECT string_agg(o, ', ' ORDER BY o) FROM unnest(c.reloptions) AS o), '')]::text[] AS attrs,
       format('CREATE %s %s%s AS%s%s', upper(c.kind), c.name,
              coalesce((SELECT ' WITH (' || string_agg(o, ', ' ORDER BY o) || ')' FROM unnest(c.reloptions) AS o), ''),
              E'\n', rtrim(pg_get_viewdef(c.oid), ';')) AS create_sql,
       format('DROP %s %s', upper(c.kind), c.name) AS drop_sql
FROM own_relations AS c
WHERE c.relkind IN ('v', 'm')
