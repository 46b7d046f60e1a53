"""asyncpg and its pool."""

import json

import asyncpg

import statements
from workloads import POOL, children, new_post


class Connection(asyncpg.Connection):
    def get_reset_query(self):
        # Nothing here changes the session: giving a connection back to the
        # pool need not cost a round trip.
        return ""


async def prepare(connection):
    await connection.set_type_codec("jsonb", encoder=json.dumps, decoder=json.loads, schema="pg_catalog")


class Peer:
    versions = {"asyncpg": asyncpg.__version__}

    async def open(self, url):
        self.pool = await asyncpg.create_pool(
            url, min_size=POOL, max_size=POOL, init=prepare, connection_class=Connection
        )

    async def close(self):
        await self.pool.close()

    async def point(self, key):
        return await self.pool.fetchrow(statements.POINT, key)

    async def page(self, after):
        return await self.pool.fetch(statements.PAGE, after)

    async def insert(self, new):
        return await self.pool.fetchrow(statements.INSERT_USER, *new.values())

    async def tx(self, new):
        async with self.pool.acquire() as c, c.transaction():
            user = await c.fetchrow(statements.INSERT_USER, *new.values())
            return user, await c.fetchrow(statements.INSERT_POST, user[0], *new_post().values())

    async def eager(self, low, high):
        async with self.pool.acquire() as c:
            found = await c.fetch(statements.EAGER_USERS, low, high)
            return children(found, await c.fetch(statements.EAGER_POSTS, [u[0] for u in found]))

    async def aggregate(self):
        return await self.pool.fetch(statements.AGGREGATE)

    async def bulk_update(self, ids, ages):
        await self.pool.execute(statements.BULK_UPDATE, ids, ages)
