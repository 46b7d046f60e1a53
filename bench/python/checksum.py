"""Checksums of results, which show that no peer wins by doing less."""

import hashlib
from datetime import datetime, timedelta, timezone

from workloads import EAGER

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
USER = ("id", "username", "email", "age", "tags", "created_at")


def values(row, names):
    """The first columns of a row, or those attributes of an object."""
    if hasattr(row, "__getitem__"):
        return row[: len(names)] if isinstance(row, tuple) else [row[i] for i in range(len(names))]
    return [getattr(row, n) for n in names]


def user_line(row):
    key, username, email, age, tags, created_at = values(row, USER)
    micros = (created_at - EPOCH) // timedelta(microseconds=1)
    return f"{key}|{username}|{email}|{'' if age is None else age}|{','.join(tags)}|{micros}\n"


def post_line(row):
    key, _, title = values(row, ("id", "user_id", "title"))
    return f">{key}|{title}\n"


def calls(peer, request):
    """The calls whose answers a checksum is of: (method, arguments)."""
    name, ids = request["name"], request.get("ids", [])
    if name == "point":
        return [(peer.point, (i,)) for i in ids]
    if name == "page":
        return [(peer.page, (ids[0],))]
    if name == "eager":
        return [(peer.eager, (ids[0], ids[0] + EAGER - 1))]
    return [(peer.aggregate, ())]


def of(name, answers):
    """The checksum of the answers to calls, as hexadecimal SHA-256."""
    if name == "point":
        lines = map(user_line, answers)
    elif name == "page":
        lines = map(user_line, answers[0])
    elif name == "eager":
        lines = (line for user, posts in answers[0] for line in (user_line(user), *map(post_line, posts)))
    else:
        lines = (f"{key}|{count}\n" for key, _, count in sorted(answers[0], key=lambda row: row[0]))
    return hashlib.sha256("".join(lines).encode()).hexdigest()
