"""Runs a peer's methods: in a thread for each caller, or in a task."""

import asyncio
import threading
import time

import workloads

clock = time.perf_counter


class Threads:
    """For a peer whose methods are functions."""

    def __init__(self, make, url):
        self.peer = make(url)

    def close(self):
        self.peer.close()

    def answers(self, calls):
        return [method(*args) for method, args in calls]

    def load(self, request, latencies):
        """Calls until the time is over; adds how long each call took, in seconds."""
        deadline = clock() + request["seconds"]
        failures = []

        def caller(number):
            try:
                begun = clock()
                for method, args in workloads.calls(self.peer, request, number):
                    method(*args)
                    ended = clock()
                    latencies.append(ended - begun)
                    if ended >= deadline:
                        return
                    begun = ended
            except Exception as e:
                failures.append(e)

        threads = [threading.Thread(target=caller, args=(n,)) for n in range(request["callers"])]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if failures:
            raise failures[0]


class Tasks:
    """For a peer whose methods are coroutines."""

    def __init__(self, make, url):
        try:
            import uvloop

            self.loop = uvloop.new_event_loop()
        except ImportError:
            self.loop = asyncio.new_event_loop()
        asyncio.set_event_loop(self.loop)
        self.peer = make()
        self.loop.run_until_complete(self.peer.open(url))

    def close(self):
        self.loop.run_until_complete(self.peer.close())
        self.loop.close()

    def answers(self, calls):
        async def all_of_them():
            return [await method(*args) for method, args in calls]

        return self.loop.run_until_complete(all_of_them())

    def load(self, request, latencies):
        """Calls until the time is over; adds how long each call took, in seconds."""
        deadline = clock() + request["seconds"]

        async def caller(number):
            begun = clock()
            for method, args in workloads.calls(self.peer, request, number):
                await method(*args)
                ended = clock()
                latencies.append(ended - begun)
                if ended >= deadline:
                    return
                begun = ended

        async def callers():
            failures = await asyncio.gather(*map(caller, range(request["callers"])), return_exceptions=True)
            for failure in failures:
                if failure is not None:
                    raise failure

        self.loop.run_until_complete(callers())
