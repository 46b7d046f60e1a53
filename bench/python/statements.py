"""The statements of the peers that are given SQL, with the parameters numbered as PostgreSQL does."""

USER = "id, username, email, age, tags, created_at, updated_at, version"
POST = "id, user_id, title, content, tags, created_at, updated_at, version"

POINT = f"SELECT {USER} FROM users WHERE id = $1"
PAGE = f"SELECT {USER} FROM users WHERE id > $1 ORDER BY id LIMIT 100"
INSERT_USER = f"INSERT INTO users (username, email, age, tags) VALUES ($1, $2, $3, $4) RETURNING {USER}"
INSERT_POST = f"INSERT INTO posts (user_id, title, content, tags) VALUES ($1, $2, $3, $4) RETURNING {POST}"
EAGER_USERS = f"SELECT {USER} FROM users WHERE id BETWEEN $1 AND $2 ORDER BY id"
EAGER_POSTS = f"SELECT {POST} FROM posts WHERE user_id = ANY($1::bigint[]) ORDER BY user_id, id"
AGGREGATE = """
SELECT u.id, u.username, count(p.id) AS post_count
FROM users AS u
LEFT JOIN posts AS p ON p.user_id = u.id
GROUP BY u.id, u.username
HAVING count(p.id) > 5
ORDER BY post_count DESC, u.id
"""
BULK_UPDATE = """
UPDATE users AS u
SET age = g.age, updated_at = now(), version = u.version + 1
FROM unnest($1::bigint[], $2::integer[]) AS g (id, age)
WHERE u.id = g.id
"""
