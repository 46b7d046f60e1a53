"""SQLAlchemy Core on psycopg2."""

import psycopg2
import sqlalchemy
from sqlalchemy import bindparam, create_engine, insert, select, text

from models import posts, prolific, users
from workloads import POOL, children, new_post

POINT = select(users).where(users.c.id == bindparam("key"))
PAGE = select(users).where(users.c.id > bindparam("after")).order_by(users.c.id).limit(100)
INSERT_USER = insert(users).returning(*users.c)
INSERT_POST = insert(posts).returning(*posts.c)
EAGER_USERS = select(users).where(users.c.id.between(bindparam("low"), bindparam("high"))).order_by(users.c.id)
EAGER_POSTS = (
    select(posts)
    .where(posts.c.user_id == sqlalchemy.func.any(bindparam("keys", type_=sqlalchemy.ARRAY(sqlalchemy.BigInteger))))
    .order_by(posts.c.user_id, posts.c.id)
)
# Several times faster than executemany, batched or not.
BULK_UPDATE = text(
    "UPDATE users AS u SET age = g.age, updated_at = now(), version = u.version + 1"
    " FROM unnest(CAST(:ids AS bigint[]), CAST(:ages AS integer[])) AS g (id, age) WHERE u.id = g.id"
)


def open_engine(url, pool=POOL):
    return create_engine(
        url.replace("postgres://", "postgresql://", 1),
        pool_size=pool,
        max_overflow=0,
        executemany_mode="values_plus_batch",
        # A statement on its own has no BEGIN and ROLLBACK around it.
        isolation_level="AUTOCOMMIT",
    )


class Peer:
    versions = {"sqlalchemy": sqlalchemy.__version__, "psycopg2": psycopg2.__version__.split()[0]}

    def __init__(self, url):
        self.engine = open_engine(url)
        # Its connections are in the pool of the other one, so that both
        # together never have more.
        self.transactions = self.engine.execution_options(isolation_level="READ COMMITTED")

    def close(self):
        self.engine.dispose()

    def point(self, key):
        with self.engine.connect() as c:
            return c.execute(POINT, {"key": key}).one()

    def page(self, after):
        with self.engine.connect() as c:
            return c.execute(PAGE, {"after": after}).all()

    def insert(self, new):
        with self.engine.connect() as c:
            return c.execute(INSERT_USER, new).one()

    def tx(self, new):
        with self.transactions.begin() as c:
            user = c.execute(INSERT_USER, new).one()
            return user, c.execute(INSERT_POST, {"user_id": user.id, **new_post()}).one()

    def eager(self, low, high):
        with self.engine.connect() as c:
            found = c.execute(EAGER_USERS, {"low": low, "high": high}).all()
            return children(found, c.execute(EAGER_POSTS, {"keys": [u.id for u in found]}).all())

    def aggregate(self):
        with self.engine.connect() as c:
            return c.execute(prolific()).all()

    def bulk_update(self, ids, ages):
        with self.engine.connect() as c:
            c.execute(BULK_UPDATE, {"ids": ids, "ages": ages})
