"""Units of every kind for `bench_kinds.py`, and the same work without this package; imports no Dagster."""

import asyncio
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import numpy as np

from project_fanout.engine import Record, Unit, per_worker


def find(*, units: int = 1000, per_record: int = 20) -> Iterator[Record]:
    """Yield records of *per_record* units, whose payloads are numbers from 0."""
    for first in range(0, units, per_record):
        numbers = range(first, min(first + per_record, units))
        yield Record(f"r{first}", [Unit(str(number), number) for number in numbers])


# 200 ms at a server.


def get(url: str) -> float:
    """Fetch *url* with a connection of its own; return when that began."""
    began = time.time()
    with urllib.request.urlopen(url, timeout=60) as answer:  # noqa: S310  # it is http
        answer.read()
    return began


def fetch(unit: Unit, *, url: str = "") -> float:
    return get(f"{url}/{unit.payload}")


@per_worker
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as opened:
        yield opened


async def fetch_async(unit: Unit, *, session: aiohttp.ClientSession, url: str = "") -> int:
    async with session.get(f"{url}/{unit.payload}") as answer:
        return len(await answer.read())


async def wait(unit: Unit, *, seconds: float = 1.0) -> None:
    await asyncio.sleep(seconds)


# An object of 300 MB, which takes a while to load.


def load(path: str) -> "np.ndarray[Any, Any]":
    """Load it; leave a line, so that loads can be counted."""
    with Path(f"{path}.loads").open("a") as file:
        file.write("x")
    return np.load(path)


@per_worker
def model(*, path: str = "") -> "np.ndarray[Any, Any]":
    return load(path)


def use(unit: Unit, *, model: "np.ndarray[Any, Any]") -> float:
    return float(model[unit.payload])


# A boosted ensemble of 200 trees of depth 6 over 32 features, as numpy evaluates it: level by level, all rows at once.


@per_worker
def trees() -> tuple[Any, Any, Any]:
    chance = np.random.default_rng(1)
    shape = (200, 63)
    return chance.integers(0, 32, shape), chance.normal(size=shape), chance.normal(size=(200, 64))


def predict(rows: "np.ndarray[Any, Any]", trees: tuple[Any, Any, Any]) -> "np.ndarray[Any, Any]":
    total = np.zeros(len(rows))
    for features, thresholds, leaves in zip(*trees, strict=True):
        node = np.zeros(len(rows), "int64")
        for _ in range(6):
            right = rows[np.arange(len(rows)), features[node]] > thresholds[node]
            node = 2 * node + 1 + right
        total += leaves[node - 63]
    return total


def features_of(number: int) -> "np.ndarray[Any, Any]":
    return np.sin(np.arange(32) * (number + 1.0))


def infer(unit: Unit, *, trees: tuple[Any, Any, Any]) -> float:
    return float(predict(features_of(unit.payload)[None, :], trees)[0])


def infer_batch(units: list[Unit], *, trees: tuple[Any, Any, Any]) -> list[float]:
    return [float(each) for each in predict(np.stack([features_of(unit.payload) for unit in units]), trees)]


def multiply(unit: Unit) -> float:
    return product(unit.payload)


def product(number: int) -> float:
    a = np.full((1500, 1500), 1.0 + number)
    return float((a @ a)[0, 0])


_leaked: list[bytearray] = []


def leak(unit: Unit) -> None:
    """Keep 50 MB for ever."""
    _leaked.append(bytearray(b"x") * 50_000_000)


# The server.


async def serve(seconds: float) -> None:
    """Answer each GET after *seconds*, on the port that is printed; /arrivals tells when each has arrived."""
    from aiohttp import web  # noqa: PLC0415  # for this process alone

    arrivals: list[float] = []

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/arrivals":
            told = web.json_response(arrivals[:])
            arrivals.clear()
            return told
        arrivals.append(time.time())
        await asyncio.sleep(seconds)
        return web.Response(text=request.path)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=1024).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()
