-- Places the service's tables on a Citus cluster (docs/scale.md). Run it with psql as the
-- owner, on the coordinator, after `server migrate up` and before the service has data:
--
--     psql -v ON_ERROR_STOP=1 -f deploy/citus.sql "$DATABASE_URL"
--
-- Run it again after each later `server migrate up`, because a migration may define the views
-- below. The tables that are placed stay as they are.
\set ON_ERROR_STOP on
SELECT EXISTS (SELECT FROM pg_dist_partition WHERE logicalrelid = 'posts'::regclass) AS placed \gset
BEGIN;
SET LOCAL citus.multi_shard_modify_mode TO 'sequential';

\if :placed
\else
-- Citus runs no triggers on the tables that it distributes. Without them there are no deltas.
-- So each post and each user is a delta that is not folded, and nothing else is counted.
DROP TRIGGER posts_count_inserted ON posts;
DROP TRIGGER posts_count_deleted ON posts;
DROP TRIGGER posts_count_updated ON posts;
DROP TRIGGER posts_count_truncated ON posts;
DROP TRIGGER users_count_inserted ON users;
DROP TRIGGER users_count_deleted ON users;
DROP TRIGGER users_count_truncated ON users;
TRUNCATE post_deltas, user_deltas, user_post_counts, day_post_counts, tag_counts;
UPDATE post_totals SET posts = 0, users_with_posts = 0;
UPDATE user_totals SET users = 0;

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

-- The statements on statistics join these with the views.
SELECT create_reference_table('user_post_counts');
SELECT create_reference_table('day_post_counts');
SELECT create_reference_table('tag_counts');
SELECT create_reference_table('post_totals');
SELECT create_reference_table('user_totals');

-- A migration may define the views anew, and a view that Citus has distributed must not depend
-- on tables that it does not know. They stay local.
SELECT citus_add_local_table_to_metadata('post_deltas');
SELECT citus_add_local_table_to_metadata('user_deltas');
\endif

CREATE OR REPLACE VIEW unfolded_posts AS
SELECT '0'::xid8 AS xid, p.id, p.user_id, (p.created_at AT TIME ZONE 'UTC')::date AS day, p.tags, 1 AS n
FROM posts AS p;

CREATE OR REPLACE VIEW unfolded_users AS
SELECT '0'::xid8 AS xid, u.id, 1::bigint AS n
FROM users AS u;

-- Nothing is kept, so there is nothing to count again.
CREATE OR REPLACE FUNCTION rebuild_counts() RETURNS void
LANGUAGE sql
AS '';

COMMIT;

-- A transaction that was prepared on a worker and whose COMMIT PREPARED was lost stays
-- invisible until Citus looks for it, by default after a minute.
ALTER SYSTEM SET citus.recover_2pc_interval = '2s';
SELECT pg_reload_conf();
