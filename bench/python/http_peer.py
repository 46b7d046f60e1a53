"""Serves GET /v1/users/{id} as a Python service would: FastAPI and the SQLAlchemy ORM.

    DATABASE_URL=postgres://... python3 http_peer.py sync|bare|async

sync has a session on psycopg2 in FastAPI's pool of threads and answers through a
response model, as the tutorials do; bare is the same without the model;
async has an AsyncSession on asyncpg. There are as many workers as the machines
that this is measured on have cores. It says one line, {"listening": URL} or
{"skip": "why"}, and serves until its standard input closes.
"""

import importlib
import json
import os
import signal
import socket
import sys
import threading

# Nothing is left in the folder of the sources.
sys.dont_write_bytecode = True

import debian

WORKERS = 2

NEEDS = {
    "fastapi": "python3-fastapi",
    "uvicorn": "python3-uvicorn",
    "uvloop": "python3-uvloop",
    "httptools": "python3-httptools",
    "sqlalchemy": "python3-sqlalchemy",
}
DRIVERS = {
    "sync": {"psycopg2": "python3-psycopg2"},
    "bare": {"psycopg2": "python3-psycopg2"},
    "async": {"asyncpg": "python3-asyncpg", "greenlet": "python3-greenlet"},
}


def listen(port=0):
    """A socket of one worker: the kernel shares the connections out evenly, where
    a socket in common would let one worker take most of them."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    s.bind(("127.0.0.1", port))
    return s


def work(kind, port, ready):
    """One worker, to the end of the standard input."""
    threading.Thread(target=lambda: (sys.stdin.buffer.read(), os._exit(0)), daemon=True).start()
    uvicorn = importlib.import_module("uvicorn")
    app = importlib.import_module("http_app").make(kind, os.environ["DATABASE_URL"], WORKERS)
    s = listen(port)
    s.listen(1024)
    os.write(ready, b".")
    uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[s])


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in DRIVERS:
        sys.exit(f"usage: DATABASE_URL=... http_peer.py {'|'.join(DRIVERS)}")
    if not os.environ.get("DATABASE_URL"):
        sys.exit("http_peer.py: DATABASE_URL is not set: it says which database to serve from")
    kind = sys.argv[1]
    if why := debian.missing(NEEDS | DRIVERS[kind]):
        print(json.dumps({"skip": why}), flush=True)
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # It only keeps the port for the workers: it never listens.
    held = listen()
    port = held.getsockname()[1]
    started, ready = os.pipe()
    workers = []
    for _ in range(WORKERS):
        pid = os.fork()
        if pid == 0:
            try:
                work(kind, port, ready)
            finally:
                os._exit(1)
        workers.append(pid)
    os.close(ready)
    if all(os.read(started, 1) for _ in range(WORKERS)):
        print(json.dumps({"listening": f"http://127.0.0.1:{port}"}), flush=True)
        sys.stdin.buffer.read()
    for pid in workers:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


if __name__ == "__main__":
    debian.run()
    main()
