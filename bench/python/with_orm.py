"""The SQLAlchemy ORM on psycopg2: a session for each operation."""

import psycopg2
import sqlalchemy
from sqlalchemy import select
from sqlalchemy.orm import Session, selectinload

from models import Post, User, prolific
from with_core import open_engine
from workloads import new_post


def page_of(after):
    return select(User).where(User.id > after).order_by(User.id).limit(100)


def with_posts(low, high):
    return select(User).where(User.id.between(low, high)).order_by(User.id).options(selectinload(User.posts))


def pairs(found):
    return [(u, u.posts) for u in found]


class Peer:
    versions = {"sqlalchemy": sqlalchemy.__version__, "psycopg2": psycopg2.__version__.split()[0]}

    def __init__(self, url):
        self.engine = open_engine(url)
        self.transactions = self.engine.execution_options(isolation_level="READ COMMITTED")

    def close(self):
        self.engine.dispose()

    def point(self, key):
        with Session(self.engine) as s:
            return s.get(User, key)

    def page(self, after):
        with Session(self.engine) as s:
            return s.scalars(page_of(after)).all()

    def insert(self, new):
        # What was inserted is known: nothing has to be read again.
        with Session(self.engine, expire_on_commit=False) as s:
            user = User(**new)
            s.add(user)
            s.commit()
            return user

    def tx(self, new):
        with Session(self.transactions, expire_on_commit=False) as s:
            user = User(**new, posts=[Post(**new_post())])
            s.add(user)
            s.commit()
            return user, user.posts[0]

    def eager(self, low, high):
        with Session(self.engine) as s:
            return pairs(s.scalars(with_posts(low, high)).all())

    def aggregate(self):
        with Session(self.engine) as s:
            return s.execute(prolific()).all()

    def bulk_update(self, ids, ages):
        with Session(self.transactions) as s:
            s.bulk_update_mappings(User, [{"id": i, "age": a} for i, a in zip(ids, ages)])
            s.commit()
