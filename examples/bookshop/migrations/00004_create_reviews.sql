-- Creates a new table. The foreign key takes a SHARE ROW EXCLUSIVE lock on
-- catalog.books while it is created. Writes to it wait, reads do not.

-- +goose Up
CREATE TABLE catalog.reviews (
    shop_id uuid   NOT NULL,
    id      bigint GENERATED ALWAYS AS IDENTITY NOT NULL,
    book_id uuid   NOT NULL,
    stars   integer NOT NULL,
    text    text   NOT NULL,

    CONSTRAINT reviews_pkey PRIMARY KEY (shop_id, id),
    CONSTRAINT reviews_book_fkey FOREIGN KEY (shop_id, book_id) REFERENCES catalog.books,
    CONSTRAINT reviews_stars_check CHECK (stars BETWEEN 1 AND 5)
);

CREATE INDEX reviews_book_idx ON catalog.reviews (shop_id, book_id, id);

-- +goose Down
DROP TABLE catalog.reviews;
