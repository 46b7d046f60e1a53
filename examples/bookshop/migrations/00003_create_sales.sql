-- Creates new tables. The foreign keys take a SHARE ROW EXCLUSIVE lock on
-- catalog.books while they are created. Writes to it wait, reads do not.

-- +goose Up
CREATE SCHEMA sales;

CREATE TABLE sales.orders (
    shop_id   uuid        NOT NULL,
    id        uuid        NOT NULL,
    customer  text        NOT NULL,
    placed_at timestamptz NOT NULL DEFAULT now(),

    CONSTRAINT orders_pkey PRIMARY KEY (shop_id, id)
);

CREATE TABLE sales.lines (
    shop_id  uuid           NOT NULL,
    order_id uuid           NOT NULL,
    book_id  uuid           NOT NULL,
    quantity integer        NOT NULL,
    price    numeric(10, 2) NOT NULL,

    CONSTRAINT lines_pkey PRIMARY KEY (shop_id, order_id, book_id),
    CONSTRAINT lines_order_fkey FOREIGN KEY (shop_id, order_id) REFERENCES sales.orders ON DELETE CASCADE,
    CONSTRAINT lines_book_fkey FOREIGN KEY (shop_id, book_id) REFERENCES catalog.books,
    CONSTRAINT lines_quantity_check CHECK (quantity > 0)
);

CREATE INDEX lines_book_idx ON sales.lines (shop_id, book_id);

CREATE VIEW sales.totals AS
SELECT o.shop_id, o.id AS order_id, o.customer, o.placed_at, coalesce(sum(l.quantity * l.price), 0)::numeric AS total
FROM sales.orders AS o
LEFT JOIN sales.lines AS l ON l.shop_id = o.shop_id AND l.order_id = o.id
GROUP BY o.shop_id, o.id;

-- +goose Down
DROP SCHEMA sales CASCADE;
