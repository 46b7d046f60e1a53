-- Creates new tables. It locks no existing table.

-- +goose Up
-- Every table has the shop's id as the first column of its primary key, so that
-- it can be sharded by it later.
CREATE SCHEMA catalog;

CREATE TYPE catalog.genre AS ENUM ('fiction', 'history', 'science', 'poetry');

CREATE TABLE catalog.books (
    shop_id uuid            NOT NULL,
    id      uuid            NOT NULL,
    isbn    text            NOT NULL,
    title   text            NOT NULL,
    genres  catalog.genre[] NOT NULL DEFAULT '{}',
    price   numeric(10, 2)  NOT NULL,
    on_sale daterange,

    CONSTRAINT books_pkey PRIMARY KEY (shop_id, id),
    CONSTRAINT books_isbn_key UNIQUE (shop_id, isbn),
    CONSTRAINT books_price_check CHECK (price >= 0)
);

-- +goose Down
DROP SCHEMA catalog CASCADE;
