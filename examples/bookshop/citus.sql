-- Distributes the shops over the workers of a Citus cluster. Run it with psql as the owner, on
-- the coordinator, after the migrations and before there are data:
--
--     psql -v ON_ERROR_STOP=1 -f citus.sql "$DATABASE_URL"
\set ON_ERROR_STOP on
BEGIN;
SET LOCAL citus.multi_shard_modify_mode TO 'sequential';

-- Citus runs no triggers on the tables that it distributes, so there are no deltas. Instead,
-- the view below makes each review a delta that is not folded.
DROP TRIGGER reviews_count_inserted ON catalog.reviews;
DROP TRIGGER reviews_count_updated ON catalog.reviews;
DROP TRIGGER reviews_count_deleted ON catalog.reviews;
TRUNCATE catalog.review_deltas, catalog.review_counts;

-- A foreign key must not lead from a local to a distributed table, so they are created again
-- when both tables are distributed.
ALTER TABLE sales.lines DROP CONSTRAINT lines_order_fkey, DROP CONSTRAINT lines_book_fkey;
ALTER TABLE catalog.reviews DROP CONSTRAINT reviews_book_fkey;

-- All rows of a shop are on one worker. A transaction for one shop is then a transaction of
-- that worker.
SELECT create_distributed_table('catalog.books', 'shop_id');
SELECT create_distributed_table('catalog.reviews', 'shop_id', colocate_with => 'catalog.books');
SELECT create_distributed_table('catalog.review_deltas', 'shop_id', colocate_with => 'catalog.books');
SELECT create_distributed_table('catalog.review_counts', 'shop_id', colocate_with => 'catalog.books');
SELECT create_distributed_table('sales.orders', 'shop_id', colocate_with => 'catalog.books');
SELECT create_distributed_table('sales.lines', 'shop_id', colocate_with => 'catalog.books');

ALTER TABLE sales.lines ADD CONSTRAINT lines_order_fkey FOREIGN KEY (shop_id, order_id) REFERENCES sales.orders (shop_id, id) ON DELETE CASCADE;
ALTER TABLE sales.lines ADD CONSTRAINT lines_book_fkey FOREIGN KEY (shop_id, book_id) REFERENCES catalog.books (shop_id, id);
ALTER TABLE catalog.reviews ADD CONSTRAINT reviews_book_fkey FOREIGN KEY (shop_id, book_id) REFERENCES catalog.books (shop_id, id);

CREATE OR REPLACE VIEW catalog.unfolded_reviews AS
SELECT r.shop_id, r.book_id, 1::bigint AS n
FROM catalog.reviews AS r;

-- A marker proves that a transaction took effect. In a local table it would be committed
-- separately from the shop's rows. As a reference table it is part of a two-phase commit.
SELECT create_reference_table('commit_markers');

COMMIT;

-- A transaction that was prepared on a worker and whose COMMIT PREPARED was lost stays
-- invisible until Citus looks for it, by default after a minute.
ALTER SYSTEM SET citus.recover_2pc_interval = '2s';
SELECT pg_reload_conf();
