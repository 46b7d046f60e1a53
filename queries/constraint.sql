-- CheckAtOnce makes the transaction check deferred constraints at the end of each
-- statement, so that a violation is an error of that statement and not of COMMIT.
-- name: CheckAtOnce :exec
SET CONSTRAINTS ALL IMMEDIATE;
