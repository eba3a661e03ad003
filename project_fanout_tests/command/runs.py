"""Runs of fan-outs whose ledgers the verbs of `fanout` read."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
from click.testing import CliRunner, Result

from project_fanout.command.main import fanout
from project_fanout.engine import Fanout, FanoutPolicy, Record, Unit
from project_fanout.orchestration import LedgerResource, UnitPoolResource, build_fanout_asset
from project_fanout_tests.instances import local_instance

RECORDS, UNITS = 3, 4
#: Names, in a process's environment, the pages that cannot be read.
BAD = "FANOUT_TESTS_BAD_PAGES"


def read_pages() -> Iterator[Record]:
    """Yield three books of four pages."""
    for number in range(RECORDS):
        units = [Unit(f"page {page}", {"page": page}) for page in range(UNITS)]
        yield Record(f"Book {number}", units)


def read_page(unit: Unit) -> dict[str, Any]:
    """Log something and return something; pages that `make` was told of cannot be read."""
    logging.getLogger("reader").warning("reading %s", unit.key)
    if unit.key in os.environ[BAD].split(","):
        raise ValueError(f"HTTP 429 for {unit.key}")
    return {"words": 100 + unit.payload["page"], "pid": os.getpid()}


def split(unit: Unit) -> Fanout:
    """Fan a page out to two halves."""
    return Fanout([Unit(f"{unit.key} {half}", unit.payload) for half in ("upper", "lower")])


books = build_fanout_asset(
    "books",
    records=read_pages,
    stages=[read_page],
    policy=FanoutPolicy(max_attempts=2, retry_delay_s=0.01),
    code_version="1",
)
halves = build_fanout_asset("halves", records=read_pages, stages=[split, read_page])


defs = dg.Definitions(assets=[books, halves])


def books_job() -> dg.JobDefinition:
    """Return the job of both assets, with units that run in the step."""
    resources = {"unit_pool": UnitPoolResource(kind="inline"), "ledger": LedgerResource()}
    jobs = [dg.define_asset_job("books_job", [books, halves], executor_def=dg.in_process_executor)]
    return dg.Definitions(assets=[books, halves], jobs=jobs, resources=resources).resolve_job_def("books_job")


def make(home: Path, asset: str = "books", *, bad: str = "", again: str | None = None, **policy: Any) -> str:
    """Materialise *asset* with an instance and a ledger in *home*, and return the run's id.

    Args:
        home: the folder.
        asset: books or halves.
        bad: pages that cannot be read.
        again: the run that is to be re-executed from its failure.
        policy: fields of the policy.
    """
    os.environ[BAD] = bad
    with local_instance(home) as instance:
        options = dg.ReexecutionOptions.from_failure(again, instance) if again else None
        selection = None if again else [dg.AssetKey(asset)]
        config = {"policy": policy}
        with dg.execute_job(
            dg.reconstructable(books_job),
            instance,
            run_config={"ops": {asset: {"config": config}}},
            asset_selection=selection,
            reexecution_options=options,
        ) as result:
            return result.run_id


def command(*arguments: str) -> Result:
    """Run a verb of `fanout`; an error that is none of its own is raised."""
    return CliRunner().invoke(fanout, arguments, catch_exceptions=False)
