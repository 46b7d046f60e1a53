-- The version is the server's: each build of PostgreSQL brings its own.
SELECT 'extension' AS kind, format('%I', e.extname) AS name, '' AS parent,
       ARRAY['schema', format('%I', n.nspname)]::text[] AS attrs,
       format('CREATE EXTENSION %I SCHEMA %I', e.extname, n.nspname) AS create_sql,
       format('DROP EXTENSION %I', e.extname) AS drop_sql
FROM pg_extension AS e
JOIN pg_namespace AS n ON n.oid = e.extnamespace
WHERE e.extname <> 'plpgsql'
