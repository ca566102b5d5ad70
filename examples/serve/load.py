"""Measure the latency of the server with 1, 8 and 32 clients, and of the model alone.

    python load.py model.skops photo.jpg --url http://127.0.0.1:8000

Needs httpx. Each client sends one request after another, up to a number of requests or seconds.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np


def seconds_of(call, n, deadline):
    """Durations of n successive calls, in seconds."""
    taken = []
    while len(taken) < n and time.monotonic() < deadline:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return taken


def under_load(url, content, *, clients, requests, seconds=60):
    """Durations of the requests of several parallel clients, in seconds; raise unless the status is 200."""
    deadline = time.monotonic() + seconds

    def client(_):
        with httpx.Client(base_url=url, timeout=seconds) as session:

            def ask():
                session.post("/predict", files={"file": ("photo", content)}).raise_for_status()

            return seconds_of(ask, -(-requests // clients), deadline)

    with ThreadPoolExecutor(clients) as pool:
        return np.concatenate(list(pool.map(client, range(clients))))


def summary(taken):
    p50, p99 = np.percentile(1000 * np.asarray(taken), [50, 99])
    return f"p50 {p50:7.1f} ms   p99 {p99:7.1f} ms   {len(taken)} requests"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="the file that is served, to ask without a server")
    parser.add_argument("photo")
    parser.add_argument("--url", default="http://127.0.0.1:8000")
    parser.add_argument("--clients", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--requests", type=int, default=320, help="for each number of clients")
    arguments = parser.parse_args()

    from app import load, predict

    with open(arguments.photo, "rb") as file:
        content = file.read()
    model = load(arguments.model)
    deadline = time.monotonic() + 60
    alone = seconds_of(lambda: predict(model, [content]), arguments.requests, deadline)
    print("no server ", summary(alone))
    for clients in arguments.clients:
        options = {"clients": clients, "requests": arguments.requests}
        print(f"{clients:3} clients", summary(under_load(arguments.url, content, **options)))


if __name__ == "__main__":
    main()
