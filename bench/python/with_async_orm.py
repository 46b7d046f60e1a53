"""The SQLAlchemy ORM on asyncpg: an AsyncSession for each operation."""

import asyncpg
import sqlalchemy
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine

from models import Post, User, prolific
from with_orm import page_of, pairs, with_posts
from workloads import POOL, new_post


def open_engine(url, pool=POOL):
    url = make_url(url.replace("postgres://", "postgresql://", 1)).set(drivername="postgresql+asyncpg")
    # asyncpg has another word for libpq's sslmode.
    query = dict(url.query)
    if mode := query.pop("sslmode", None):
        query["ssl"] = mode
    return create_async_engine(url.set(query=query), pool_size=pool, max_overflow=0, isolation_level="AUTOCOMMIT")


class Peer:
    versions = {"sqlalchemy": sqlalchemy.__version__, "asyncpg": asyncpg.__version__}

    async def open(self, url):
        self.engine = open_engine(url)
        self.transactions = self.engine.execution_options(isolation_level="READ COMMITTED")

    async def close(self):
        await self.engine.dispose()

    async def point(self, key):
        async with AsyncSession(self.engine) as s:
            return await s.get(User, key)

    async def page(self, after):
        async with AsyncSession(self.engine) as s:
            return (await s.scalars(page_of(after))).all()

    async def insert(self, new):
        async with AsyncSession(self.engine, expire_on_commit=False) as s:
            user = User(**new)
            s.add(user)
            await s.commit()
            return user

    async def tx(self, new):
        async with AsyncSession(self.transactions, expire_on_commit=False) as s:
            user = User(**new, posts=[Post(**new_post())])
            s.add(user)
            await s.commit()
            return user, user.posts[0]

    async def eager(self, low, high):
        async with AsyncSession(self.engine) as s:
            return pairs((await s.scalars(with_posts(low, high))).all())

    async def aggregate(self):
        async with AsyncSession(self.engine) as s:
            return (await s.execute(prolific())).all()

    async def bulk_update(self, ids, ages):
        mappings = [{"id": i, "age": a} for i, a in zip(ids, ages)]
        async with AsyncSession(self.transactions) as s:
            await s.run_sync(lambda session: session.bulk_update_mappings(User, mappings))
            await s.commit()
