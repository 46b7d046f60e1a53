"""The applications that http_peer.py serves."""

import asyncio
from datetime import datetime
from typing import List, Optional

from fastapi import FastAPI, HTTPException
from fastapi.concurrency import run_in_threadpool
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
    # A thread for each connection and no more: in SQLAlchemy's pool some threads
    # would starve. FastAPI's own pool of threads, as small as that, serves whoever
    # came last; this is a fair queue, and as fast.
    gate = asyncio.Semaphore(pool)

    def load(id):
        with Session(engine) as s:
            return found(s.get(User, id))

    @app.get("/v1/users/{id}", response_model=None if bare else UserOut)
    async def get_user(id: int):
        async with gate:
            user = await run_in_threadpool(load, id)
        return JSONResponse(as_json(user)) if bare else user


def as_json(user):
    return {
        "id": user.id,
        "username": user.username,
        "email": user.email,
        "age": user.age,
        "tags": user.tags,
        "created_at": user.created_at.isoformat(),
        "updated_at": user.updated_at.isoformat(),
        "version": user.version,
    }
