-- Creates two tables, a view, a function and triggers on catalog.reviews. Each trigger takes a
-- SHARE ROW EXCLUSIVE lock for a moment. Writes wait for it, reads do not. Then it counts the
-- reviews once, while reads and writes continue. If it is interrupted, run it again.

-- +goose NO TRANSACTION
-- +goose Up
-- Each change of reviews appends a delta, so that the reviewers of one book do not wait for
-- each other. FoldReviews adds them to the counts, and a read adds the others.
CREATE TABLE IF NOT EXISTS catalog.review_deltas (
    shop_id uuid   NOT NULL,
    id      bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    book_id uuid   NOT NULL,
    n       bigint NOT NULL,

    CONSTRAINT review_deltas_pkey PRIMARY KEY (shop_id, book_id, id)
);

CREATE TABLE IF NOT EXISTS catalog.review_counts (
    shop_id uuid   NOT NULL,
    book_id uuid   NOT NULL,
    reviews bigint NOT NULL,

    CONSTRAINT review_counts_pkey PRIMARY KEY (shop_id, book_id)
);

-- The deltas that a read adds to the counts. citus.sql replaces the view, because no trigger runs
-- on Citus.
CREATE OR REPLACE VIEW catalog.unfolded_reviews AS
SELECT d.shop_id, d.book_id, d.n
FROM catalog.review_deltas AS d;

-- It runs as its owner, so that a role which may write reviews needs no privilege on the deltas.
-- A search_path of the function would take 4 µs of each call. Without one, the caller's
-- search_path must not decide what a name refers to, so each name has its schema.
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION catalog.count_reviews() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER
AS $$
BEGIN
    IF TG_OP OPERATOR(pg_catalog.<>) 'INSERT' THEN
        INSERT INTO catalog.review_deltas (shop_id, book_id, n) SELECT shop_id, book_id, -1 FROM old_rows;
    END IF;
    IF TG_OP OPERATOR(pg_catalog.<>) 'DELETE' THEN
        INSERT INTO catalog.review_deltas (shop_id, book_id, n) SELECT shop_id, book_id, 1 FROM new_rows;
    END IF;
    RETURN NULL;
END
$$;
-- +goose StatementEnd

CREATE OR REPLACE TRIGGER reviews_count_inserted AFTER INSERT ON catalog.reviews
    REFERENCING NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION catalog.count_reviews();
CREATE OR REPLACE TRIGGER reviews_count_updated AFTER UPDATE ON catalog.reviews
    REFERENCING OLD TABLE AS old_rows NEW TABLE AS new_rows FOR EACH STATEMENT EXECUTE FUNCTION catalog.count_reviews();
CREATE OR REPLACE TRIGGER reviews_count_deleted AFTER DELETE ON catalog.reviews
    REFERENCING OLD TABLE AS old_rows FOR EACH STATEMENT EXECUTE FUNCTION catalog.count_reviews();

-- After the triggers. The deltas that the count includes are deleted in its snapshot.
WITH counted AS (
    DELETE FROM catalog.review_deltas
)
INSERT INTO catalog.review_counts (shop_id, book_id, reviews)
SELECT shop_id, book_id, count(*)
FROM catalog.reviews
GROUP BY shop_id, book_id
ON CONFLICT (shop_id, book_id) DO UPDATE SET reviews = EXCLUDED.reviews;

-- +goose Down
DROP TRIGGER IF EXISTS reviews_count_inserted ON catalog.reviews;
DROP TRIGGER IF EXISTS reviews_count_updated ON catalog.reviews;
DROP TRIGGER IF EXISTS reviews_count_deleted ON catalog.reviews;
DROP FUNCTION IF EXISTS catalog.count_reviews;
DROP VIEW IF EXISTS catalog.unfolded_reviews;
DROP TABLE IF EXISTS catalog.review_deltas, catalog.review_counts;
