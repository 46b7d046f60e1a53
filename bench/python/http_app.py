"""The applications that http_peer.py serves."""

from datetime import datetime
from typing import List, Optional

import anyio.to_thread
from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

import with_async_orm
import with_core
from models import User
from workloads import POOL


class UserOut(BaseModel):
    id: int
    username: str
    email: str
    age: Optional[int]
    tags: List[str]
    created_at: datetime
    updated_at: datetime
    version: int

    class Config:
        orm_mode = True


def found(user):
    if user is None:
        raise HTTPException(404)
    return user


def make(kind, url, workers):
    """The application of one of several workers, which share the connections of a peer."""
    app = FastAPI()
    pool = POOL // workers
    if kind == "async":
        serve_async(app, with_async_orm.open_engine(url, pool))
    else:
        serve(app, with_core.open_engine(url, pool), pool, bare=kind == "bare")
    return app


def serve_async(app, engine):
    @app.get("/v1/users/{id}", response_model=UserOut)
    async def get_user(id: int):
        async with AsyncSession(engine) as s:
            return found(await s.get(User, id))


def serve(app, engine, pool, bare):
    @app.on_event("startup")
    async def one_thread_for_each_connection():
        # With more, threads fight for connections, and some never get one.
        anyio.to_thread.current_default_thread_limiter().total_tokens = pool

    if bare:

        @app.get("/v1/users/{id}")
        def get_user(id: int):
            with Session(engine) as s:
                u = found(s.get(User, id))
            return JSONResponse(
                {
                    "id": u.id,
                    "username": u.username,
                    "email": u.email,
                    "age": u.age,
                    "tags": u.tags,
                    "created_at": u.created_at.isoformat(),
                    "updated_at": u.updated_at.isoformat(),
                    "version": u.version,
                }
            )

    else:

        @app.get("/v1/users/{id}", response_model=UserOut)
        def get_user(id: int):
            with Session(engine) as s:
                return found(s.get(User, id))
