"""Runs the benchmark's workloads with one of the libraries a Python service would use.

    DATABASE_URL=postgres://... python3 peer.py ADAPTER

It speaks one JSON object per line. First it says {"ready": true, "versions": {...}},
or {"skip": "why"} where its library is not installed, and ends. Then it answers
each line of its standard input, until that closes:

    {"workload": "point", "callers": 64, "seconds": 0.4, "ids": [1, 100000], "seed": 7, "prefix": "r3-"}
    {"ops": 1234, "seconds": 0.41, "p50_us": 310.5, "p99_us": 900.1, "cpu_seconds": 0.4, "error": ""}
    {"workload": "checksum", "name": "page", "ids": [500]}
    {"checksum": "9f86d0..."}
    {"quit": true}

The workloads are in workloads.py, what a checksum is of in checksum.py. Callers
are threads, or tasks where the library is asynchronous. What cannot be done is
answered by {"error": "why"}.
"""

import importlib
import json
import os
import resource
import signal
import sys
import time

# Nothing is left in the folder of the sources.
sys.dont_write_bytecode = True

import checksum
import debian
import runner
import workloads

SQLALCHEMY = {"sqlalchemy": "python3-sqlalchemy"}
PSYCOPG2 = {"psycopg2": "python3-psycopg2"}
ASYNCPG = {"asyncpg": "python3-asyncpg"}

# Of each adapter: its module, how it is run, and the package of each module it needs.
ADAPTERS = {
    "sqlalchemy-core": ("with_core", runner.Threads, SQLALCHEMY | PSYCOPG2),
    "sqlalchemy-orm": ("with_orm", runner.Threads, SQLALCHEMY | PSYCOPG2),
    "sqlalchemy-async": ("with_async_orm", runner.Tasks, SQLALCHEMY | ASYNCPG | {"greenlet": "python3-greenlet"}),
    "psycopg3": ("with_psycopg3", runner.Threads, {"psycopg": "python3-psycopg", "psycopg_pool": "python3-psycopg-pool"}),
    "asyncpg": ("with_asyncpg", runner.Tasks, ASYNCPG),
}


def say(answer):
    print(json.dumps(answer), flush=True)


def cpu_seconds():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def percentile(latencies, share):
    """In microseconds, of sorted seconds."""
    if not latencies:
        return 0.0
    return latencies[min(len(latencies) - 1, int(len(latencies) * share))] * 1e6


def measure(run, request):
    latencies, error = [], ""
    begun, cpu = time.perf_counter(), cpu_seconds()
    try:
        run.load(request, latencies)
    except Exception as e:
        error = f"{type(e).__name__}: {e}"
    seconds, cpu = time.perf_counter() - begun, cpu_seconds() - cpu
    latencies.sort()
    return {
        "ops": len(latencies),
        "seconds": seconds,
        "p50_us": percentile(latencies, 0.5),
        "p99_us": percentile(latencies, 0.99),
        "cpu_seconds": cpu,
        "error": error,
    }


def requests(lines):
    """The requests on the lines, up to the one that quits. One that cannot be read is answered here."""
    for line in lines:
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("an object is needed")
            if request.get("quit"):
                return
            workloads.check(request)
        except ValueError as e:
            say({"error": str(e)})
        else:
            yield request


def answer(run, request):
    if request["workload"] != "checksum":
        return measure(run, request)
    try:
        return {"checksum": checksum.of(request["name"], run.answers(checksum.calls(run.peer, request)))}
    except Exception as e:
        return {"error": f"{type(e).__name__}: {e}"}


def main():
    if len(sys.argv) != 2 or sys.argv[1] not in ADAPTERS:
        sys.exit(f"usage: DATABASE_URL=... peer.py {'|'.join(ADAPTERS)}")
    if not os.environ.get("DATABASE_URL"):
        sys.exit("peer.py: DATABASE_URL is not set: it says which database to measure on")
    module, runs, needs = ADAPTERS[sys.argv[1]]
    if why := debian.missing(needs):
        say({"skip": why})
        return
    # Ctrl-C is for whoever started this, who ends it by closing its input.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    make = importlib.import_module(module).Peer
    run = runs(make, os.environ["DATABASE_URL"])
    try:
        say({"ready": True, "versions": {"python": sys.version.split()[0], **make.versions}})
        for request in requests(sys.stdin):
            say(answer(run, request))
    finally:
        run.close()


if __name__ == "__main__":
    debian.run()
    main()
