SELECT 'schema' AS kind, format('%I', nspname) AS name, '' AS parent, '{}'::text[] AS attrs,
       format('CREATE SCHEMA %I', nspname) AS create_sql,
       format('DROP SCHEMA %I', nspname) AS drop_sql
FROM own_schemas
