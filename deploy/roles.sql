-- The role that the service connects as, with no more privileges than it needs
-- (docs/operations.md). Run it with psql as the owner of the database, before the first
-- migration. APP_PASSWORD is the role's password.
\set ON_ERROR_STOP on
\getenv password APP_PASSWORD

CREATE ROLE app LOGIN PASSWORD :'password';
GRANT USAGE ON SCHEMA public TO app;
-- For all tables and sequences that this owner's migrations create later.
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO app;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT USAGE, UPDATE ON SEQUENCES TO app;
