"""psycopg 3 and its pool."""

import re

import psycopg
from psycopg.types.json import Jsonb
from psycopg_pool import ConnectionPool

import statements
from workloads import POOL, children, new_post


def placed(sql):
    """The statement with psycopg's placeholders; the numbers must stand in order."""
    return re.sub(r"\$\d+", "%s", sql)


POINT, PAGE, INSERT_USER, INSERT_POST, EAGER_USERS, EAGER_POSTS, AGGREGATE, BULK_UPDATE = map(
    placed,
    (
        statements.POINT,
        statements.PAGE,
        statements.INSERT_USER,
        statements.INSERT_POST,
        statements.EAGER_USERS,
        statements.EAGER_POSTS,
        statements.AGGREGATE,
        statements.BULK_UPDATE,
    ),
)


def values(new):
    """What is inserted, its tags as psycopg wants JSON."""
    *others, tags = new.values()
    return *others, Jsonb(tags)


class Peer:
    # Debian has no python3-psycopg-c: this is the implementation in Python.
    versions = {"psycopg": f"{psycopg.__version__} ({psycopg.pq.__impl__})"}

    def __init__(self, url):
        # Prepared the first time it is sent, not the fifth.
        settings = {"autocommit": True, "prepare_threshold": 0}
        self.pool = ConnectionPool(url, min_size=POOL, max_size=POOL, kwargs=settings, timeout=60)
        self.pool.wait()

    def close(self):
        self.pool.close()

    def point(self, key):
        with self.pool.connection() as c:
            return c.execute(POINT, (key,)).fetchone()

    def page(self, after):
        with self.pool.connection() as c:
            return c.execute(PAGE, (after,)).fetchall()

    def insert(self, new):
        with self.pool.connection() as c:
            return c.execute(INSERT_USER, values(new)).fetchone()

    def tx(self, new):
        with self.pool.connection() as c, c.transaction():
            user = c.execute(INSERT_USER, values(new)).fetchone()
            return user, c.execute(INSERT_POST, (user[0], *values(new_post()))).fetchone()

    def eager(self, low, high):
        with self.pool.connection() as c:
            found = c.execute(EAGER_USERS, (low, high)).fetchall()
            return children(found, c.execute(EAGER_POSTS, ([u[0] for u in found],)).fetchall())

    def aggregate(self):
        with self.pool.connection() as c:
            return c.execute(AGGREGATE).fetchall()

    def bulk_update(self, ids, ages):
        with self.pool.connection() as c:
            c.execute(BULK_UPDATE, (ids, ages))
