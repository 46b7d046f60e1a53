-- Places the service's tables on a Citus cluster (docs/scale.md). Run it with psql as the
-- owner, on the coordinator, after `server migrate up` and before the service has data:
--
--     psql -v ON_ERROR_STOP=1 -f deploy/citus.sql "$DATABASE_URL"
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL citus.multi_shard_modify_mode TO 'sequential';

-- Posts are distributed by their user, so each post of a user is on one node, and the key
-- must begin with the user. In this order: a table with an identity column cannot be
-- distributed once a foreign key has made Citus manage it.
ALTER TABLE posts DROP CONSTRAINT posts_user_id_fkey;
ALTER TABLE posts DROP CONSTRAINT posts_pkey;
ALTER TABLE posts ADD CONSTRAINT posts_pkey PRIMARY KEY (user_id, id);
SELECT create_distributed_table('posts', 'user_id');

-- Every node has all users, for the foreign key of posts.
SELECT create_reference_table('users');
ALTER TABLE posts ADD CONSTRAINT posts_user_id_fkey FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE;

-- These rows prove that a transaction took effect. In a local table they would be committed
-- separately from the posts: a worker commits first, and if its answer is lost, the row is
-- rolled back although the post is stored. As reference tables they are part of the
-- two-phase commit.
SELECT create_reference_table('commit_markers');
SELECT create_reference_table('idempotency_keys');
SELECT create_reference_table('import_checkpoints');

COMMIT;

-- A transaction that was prepared on a worker and whose COMMIT PREPARED was lost stays
-- invisible until Citus looks for it, by default after a minute.
ALTER SYSTEM SET citus.recover_2pc_interval = '2s';
SELECT pg_reload_conf();
