-- What belongs to the application: neither PostgreSQL's own, nor a member of an
-- extension, nor goose's table of versions, nor the record of what ran. Each query of this folder begins with it.
WITH own_schemas AS (
    SELECT n.oid, n.nspname, n.nspowner, n.nspacl
    FROM pg_namespace AS n
    WHERE n.nspname !~ '^pg_' AND n.nspname <> 'information_schema'
      AND NOT EXISTS (
          SELECT FROM pg_depend AS d
          WHERE d.classid = 'pg_namespace'::regclass AND d.objid = n.oid AND d.deptype = 'e'
      )
), members AS (
    SELECT classid, objid
    FROM pg_depend
    WHERE deptype = 'e'
), own_relations AS (
    SELECT c.*, s.nspname, format('%I.%I', s.nspname, c.relname) AS name,
           CASE c.relkind WHEN 'v' THEN 'view' WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table' ELSE 'table' END AS kind
    FROM pg_class AS c
    JOIN own_schemas AS s ON s.oid = c.relnamespace
    WHERE c.relname NOT IN ('goose_db_version', 'goose_db_version_id_seq', 'goose_db_version_pkey',
                            'migration_history', 'migration_history_id_seq', 'migration_history_pkey')
      AND NOT EXISTS (SELECT FROM members AS m WHERE m.classid = 'pg_class'::regclass AND m.objid = c.oid)
)
