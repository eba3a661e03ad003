"""Stages of every kind, over a web server, with what they need set up once per worker."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import aiohttp
import dagster as dg
import numpy as np

from project_fanout.engine import Record, Unit, per_worker


def pages(*, url: str = "", records: int = 5, pages: int = 8) -> Iterator[Record]:
    """Yield records of pages to fetch."""
    for record in range(records):
        yield Record(
            f"r{record}", [Unit(f"p{page}", f"{url}/{record * pages + page}") for page in range(pages)]
        )


@per_worker
async def session(*, timeout_s: float = 30.0) -> AsyncIterator[aiohttp.ClientSession]:
    """One session, with its open connections, for all units of a worker."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(timeout_s)) as session:
        yield session


@per_worker
def weights(*, seed: int = 1) -> "np.ndarray[Any, Any]":
    """A model."""
    return np.random.default_rng(seed).normal(size=(4, 3))


class Vocabulary(dg.ConfigurableResource):  # type: ignore[type-arg]  # its value is itself
    """What all units read."""

    size: int = 4

    def for_units(self) -> "np.ndarray[Any, Any]":
        """Return as many numbers."""
        return np.arange(self.size, dtype="float64")


async def fetch(unit: Unit[str], *, session: aiohttp.ClientSession) -> int:
    """Return what the page says."""
    async with session.get(unit.payload) as response:
        return int(await response.text())


def embed(
    units: list[Unit[int]], *, weights: "np.ndarray[Any, Any]", vocabulary: "np.ndarray[Any, Any]"
) -> list[Any]:
    """Return a row for each unit, computed at once."""
    numbers = np.array([unit.payload for unit in units], dtype="float64")
    return list((numbers[:, None] * vocabulary) @ weights)


def total(unit: Unit["np.ndarray[Any, Any]"]) -> dict[str, float]:
    """Sum it up."""
    return {"total": float(unit.payload.sum())}


def weigh(unit: Unit, *, number: int, weights: "np.ndarray[Any, Any]") -> float:
    """Multiply a number with the model."""
    return float((weights * number).sum())


def rated_records() -> list[Record]:
    return [Record(f"r{record}", [Unit(f"u{unit}") for unit in range(10)]) for record in range(3)]


def start(unit: Unit) -> dict[str, float]:
    """Return when it has started."""
    return {"started": time.time()}


async def start_coroutine(unit: Unit) -> dict[str, float]:
    return {"started": time.time()}


async def slow_server() -> None:
    """Serve numbers, each after 50 ms, on the port that is printed."""
    from aiohttp import web

    async def answer(request: web.Request) -> web.Response:
        await asyncio.sleep(0.05)
        return web.Response(text=request.path.strip("/"))

    app = web.Application()
    app.router.add_get("/{number}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(slow_server())
