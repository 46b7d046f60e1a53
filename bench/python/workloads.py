"""What is measured, the same for every peer.

A peer is a class with `versions` and a method for each workload; it is made with
the URL of the database, or, when its methods are coroutines, opened with it.

    point(id)             -> user
    page(after)           -> 100 users behind an id
    insert(new)           -> the user as stored
    tx(new)               -> (user, post) as stored, in one transaction
    eager(low, high)      -> [(user, its posts)] of the users low to high
    aggregate()           -> [(id, username, count)] of those with more than five posts
    bulk_update(ids, ages)

Users and posts are objects with the columns as attributes, or rows with the
columns in the order of the tables.
"""

import itertools
import os
import random

POOL = 8  # connections, as every peer has
EAGER = 1000  # users in an eager load
BULK = 10_000  # users in a bulk update

NAMES = ("point", "page", "insert", "tx", "eager", "aggregate", "bulk-update")

# Usernames never repeat, in this process or after it.
serial = itertools.count()


def new_user(prefix):
    """A user that does not exist yet: the columns in the order of the table."""
    number = next(serial)
    name = f"{prefix}{os.getpid():x}-{number:x}"
    return {"username": name, "email": name + "@example.com", "age": 18 + number % 60, "tags": ["bench", "insert"]}


def new_post():
    """The post that goes with an inserted user."""
    return {"title": "Hello", "content": "The first post of a new user.", "tags": ["hello"]}


def children(users, posts):
    """Each user with its posts; both come in the order of the users' ids."""
    by_user = {u[0]: [] for u in users}
    for p in posts:
        by_user[p[1]].append(p)
    return [(u, by_user[u[0]]) for u in users]


def calls(peer, request, caller):
    """An endless iterator of (method, arguments) for one caller."""
    name = request["workload"]
    low, high = request["ids"]
    prefix = request.get("prefix", "")
    chance = random.Random(request.get("seed", 0) * 1_000_003 + caller)
    method = getattr(peer, name.replace("-", "_"))
    if name in ("point", "page"):
        while True:
            yield method, (chance.randint(low, high),)
    elif name in ("insert", "tx"):
        while True:
            yield method, (new_user(prefix),)
    elif name == "eager":
        while True:
            yield method, (low, low + EAGER - 1)
    elif name == "aggregate":
        while True:
            yield method, ()
    else:
        ids = list(range(low, min(high, low + BULK - 1) + 1))
        while True:
            shift = chance.randrange(80)
            yield method, (ids, [(i + shift) % 80 + 18 for i in ids])


def check(request):
    """Raises ValueError with what is wrong with a request."""
    name = request.get("workload")
    if name == "checksum":
        if request.get("name") not in ("point", "page", "eager", "aggregate"):
            raise ValueError(f"checksum of {request.get('name')!r}: it is of point, page, eager or aggregate")
        ids = request.get("ids", [])
        if not all(isinstance(i, int) for i in ids) or not ids and request["name"] != "aggregate":
            raise ValueError(f"ids: {ids!r}: a list of integers is needed")
        return
    if name not in NAMES:
        raise ValueError(f"workload {name!r}: there are {', '.join(NAMES)} and checksum")
    ids = request.get("ids")
    if not isinstance(ids, list) or len(ids) != 2 or not all(isinstance(i, int) for i in ids) or ids[0] > ids[1]:
        raise ValueError(f"ids: {ids!r}: the lowest and the highest are needed")
    if not isinstance(request.get("callers"), int) or request["callers"] < 1:
        raise ValueError(f"callers: {request.get('callers')!r}: at least 1 is needed")
    if not isinstance(request.get("seconds"), (int, float)) or request["seconds"] <= 0:
        raise ValueError(f"seconds: {request.get('seconds')!r}: more than 0 is needed")
