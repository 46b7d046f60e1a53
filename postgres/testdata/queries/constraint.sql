-- CheckAtOnce makes the transaction check deferred constraints at the end of each
-- statement, so that a violation is that statement's and not that of COMMIT.
--
-- name: CheckAtOnce :exec
SET CONSTRAINTS ALL IMMEDIATE;
