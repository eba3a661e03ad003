"""`fanout plan`: what a run would do, found without running a unit."""

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from project_fanout.command.opened_ledger import CONTEXT, LedgerVerb, json_option, opened_ledger, url_option
from project_fanout.command.printing import print_json, print_table
from project_fanout.common import duration_text, one_line
from project_fanout.engine.container import available_cpus
from project_fanout.engine.errors import FanoutError, LedgerError
from project_fanout.engine.ledger import Ledger

if TYPE_CHECKING:
    from project_fanout.orchestration.run_plan import RunPlan

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(cls=LedgerVerb, context_settings=CONTEXT)
@click.argument("asset")
@click.option("-m", "--module-name", help="Module that defines the assets, e.g. project_fanout.definitions.")
@click.option("-f", "--python-file", type=_FILE, help="Or file that does.")
@click.option(
    "--config", type=_FILE, help="Run config, YAML or JSON, as the Launchpad has it. Default: none."
)
@click.option("--partition", default="", help="The partition, of an asset that has some.")
@click.option("--limit", metavar="N", type=click.IntRange(0), default=20, help="Print N steps. Default: 20.")
@url_option
@json_option
def plan(
    asset: str,
    module_name: str | None,
    python_file: Path | None,
    config: Path | None,
    partition: str,
    limit: int,
    url: str | None,
    as_json: bool,
) -> None:
    """Say what a run of ASSET would do: records, units, steps, what it would reuse, and how long it would take.

    The records function is called as in a run, with the values that its upstream assets have now; no unit is run. Time
    and memory are those of the latest run that the ledger knows.
    """
    try:
        planned = _planned(asset, module_name, python_file, config, partition, url)
    except FanoutError as error:
        raise LedgerError(str(error)) from error
    workers = planned.settings.policy.max_workers or available_cpus()
    if as_json:
        print_json(
            {
                **{name: value for name, value in asdict(planned).items() if name != "settings"},
                "policy": asdict(planned.settings.policy),
                "records": planned.records,
                "units": planned.units,
                "reused": planned.reused,
                "seconds": _seconds(planned, workers),
            }
        )
    else:
        _print(planned, workers, limit)


def _planned(
    asset: str,
    module_name: str | None,
    python_file: Path | None,
    config: Path | None,
    partition: str,
    url: str | None,
) -> "RunPlan":
    import dagster as dg  # noqa: PLC0415  # 1 s

    from project_fanout.command.loaded_asset import load_asset  # noqa: PLC0415  # likewise
    from project_fanout.orchestration.run_plan import plan_run  # noqa: PLC0415  # likewise

    found = load_asset(asset, module_name, python_file)
    has_home = bool(os.environ.get("DAGSTER_HOME"))
    with dg.DagsterInstance.get() if has_home else dg.DagsterInstance.ephemeral() as instance:
        ins = found.upstream_values(instance, partition)
    ledger = _ledger(url)
    try:
        return plan_run(found.ops, _config_of(config, found.ops.name), ins, ledger, partition)
    finally:
        if ledger is not None:
            ledger.close()


def _ledger(url: str | None) -> Ledger | None:
    """Return the ledger, None where no run has made one yet."""
    try:
        return opened_ledger(url)
    except LedgerError:
        if url is not None:
            raise
        return None


def _config_of(config: Path | None, name: str) -> Any:
    """Return the asset's own config of a file with run config."""
    import yaml  # noqa: PLC0415  # of use here alone

    if config is None:
        return {}
    try:
        found = yaml.safe_load(config.read_text(encoding="utf-8")) or {}
        return (found.get("ops", {}).get(name) or {}).get("config", {})
    except (yaml.YAMLError, AttributeError) as error:
        raise LedgerError(f"{config} is no run config: {one_line(str(error), 200)}") from None


def _print(planned: "RunPlan", workers: int, limit: int) -> None:
    click.echo(
        f"{planned.asset}: {planned.records:,} records, {planned.units:,} units of the first stage, "
        f"{len(planned.steps):,} mapped steps"
    )
    click.echo(f"{planned.reused:,} of the units would be reused, {planned.units - planned.reused:,} run")
    for reason, units in sorted(planned.reasons.items(), key=lambda each: -each[1]):
        click.echo(f"  {units:,}: {reason}")
    if planned.earlier is None:
        click.echo("How long it takes is not known: no earlier run is.")
    else:
        each, peak_mb = planned.earlier.seconds, planned.earlier.peak_mb
        about = duration_text(_seconds(planned, workers) or 0.0)
        memory = f", and at most {peak_mb:,.0f} MiB in a worker" if peak_mb is not None else ""
        click.echo(f"It would take about {about} with {workers} at once.")
        click.echo(f"  A unit took {each:.3g} s in run {planned.earlier.run_id}{memory}.")
    if not limit:
        return
    click.echo()
    print_table(
        planned.steps[:limit],
        {
            "mapping_key": lambda step: step.mapping_key,
            "units": lambda step: step.units,
            "reused": lambda step: step.reused,
            "records": lambda step: one_line(", ".join(step.records), 80),
        },
    )
    if len(planned.steps) > limit:
        click.echo(f"and {len(planned.steps) - limit:,} more steps; --limit prints more.")


def _seconds(planned: "RunPlan", workers: int) -> float | None:
    if planned.earlier is None:
        return None
    return (planned.units - planned.reused) * planned.earlier.seconds / workers
