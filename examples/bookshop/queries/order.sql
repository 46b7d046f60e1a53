-- CreateOrder adds an order.
--
-- @queue
-- name: CreateOrder :one
INSERT INTO sales.orders (shop_id, id, customer)
VALUES (@shop_id, @id, @customer)
RETURNING shop_id, id, customer, placed_at;

-- AddLine adds a book to an order at its current price.
--
-- @queue
-- name: AddLine :execrows
INSERT INTO sales.lines (shop_id, order_id, book_id, quantity, price)
SELECT b.shop_id, @order_id, b.id, @quantity, b.price
FROM catalog.books AS b
WHERE b.shop_id = @shop_id AND b.id = @book_id;

-- GetTotal returns the total of an order.
--
-- @route replica
-- @plan indexed
-- name: GetTotal :one
SELECT shop_id, order_id, customer, placed_at, total
FROM sales.totals
WHERE shop_id = @shop_id AND order_id = @order_id;
