"""The verbs of `fanout ledger`: list, show and prune unit outcomes, and settle claims."""

import json
import os
import re
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, TypeVar, get_args

import click

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Ledger, LedgerFilter, default_ledger_url
from project_fanout.engine.ledger.claims import Claims, ClaimState
from project_fanout.engine.model import STATUSES, Status

_T = TypeVar("_T")

_SECONDS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


class _LedgerGroup(click.Group):
    """Ends with exit code 1 after an error of the ledger, and with 0 where nobody reads the output any more."""

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except LedgerError as error:
            click.echo(f"{ctx.command_path}: {error}", err=True)
            ctx.exit(1)
        except BrokenPipeError:
            # Whoever read the output, e.g. `head`, has seen enough. What is still buffered goes nowhere.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(0)


def _age(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """Return an age in seconds."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    if not found:
        raise click.BadParameter(f"{text!r} is not an age; accepted: a number and m, h, d or w, e.g. 30d")
    return float(found[1]) * _SECONDS[found[2]]


def _number(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"\d{1,9}", text):
        raise click.BadParameter(f"{text!r} is not a number from 0 to 999999999")
    return int(text)


_url = click.option(
    "--url",
    help="File or SQLAlchemy URL. Default: FANOUT_LEDGER_URL, else fanout_ledger.db in DAGSTER_HOME.",
)
_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_lineage = click.option("--lineage", help="Only this root run: its id, or how it begins.")
_asset = click.option("--asset", help="Only this asset.")
_partition = click.option("--partition", help="Only this partition.")


def _limit(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    text = f"Print at most N {what}."
    return click.option("--limit", metavar="N", callback=_number, default="50", show_default=True, help=text)


@click.group(
    cls=_LedgerGroup,
    invoke_without_command=True,
    subcommand_metavar="COMMAND [ARGS]...",
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.pass_context
def ledger(context: click.Context) -> None:
    """List, show and prune unit outcomes, and settle claims."""
    if context.invoked_subcommand is None:
        context.fail("the following arguments are required: command")


@ledger.command("list")
@_url
@_json
@_lineage
@_asset
@_partition
def list_(
    url: str | None, as_json: bool, lineage: str | None, asset: str | None, partition: str | None
) -> None:
    """Count outcomes by lineage and asset."""
    with _opened_ledger(url) as opened:
        found = opened.scopes(LedgerFilter(_whole_lineage(opened, lineage), asset, partition))
    if as_json:
        _print_json([asdict(scope) for scope in found])
        return
    rows = [
        [
            total.scope.lineage,
            total.scope.asset,
            total.scope.partition,
            *(total.units.get(status, 0) for status in STATUSES),
            _time(total.first_at),
            _time(total.last_at),
            total.size_bytes,
        ]
        for total in found
    ]
    _print_table(["lineage", "asset", "partition", *STATUSES, "first", "last", "bytes"], rows)


@ledger.command()
@click.argument("lineage")
@_url
@_json
@_asset
@_partition
@click.option("--record", help="Only this record.")
@click.option("--status", type=click.Choice(STATUSES), help="Only outcomes of this status.")
@_limit("outcomes")
def show(
    lineage: str,
    url: str | None,
    as_json: bool,
    asset: str | None,
    partition: str | None,
    record: str | None,
    status: Status | None,
    limit: int,
) -> None:
    """Print the outcomes of a lineage.

    LINEAGE is the id of its root run, or how that begins.
    """
    with _opened_ledger(url) as opened:
        wanted = LedgerFilter(_whole_lineage(opened, lineage), asset, partition, record, status)
        found = opened.entries(wanted, limit=limit + 1)
    shown = _first(found, limit)
    if as_json:
        _print_json([_flat(asdict(entry)) for entry in shown])
        return
    names = [
        "asset",
        "partition",
        "record",
        "stage",
        "unit",
        "status",
        "attempts",
        "seconds",
        "ended",
        "error",
    ]
    rows = [
        [
            entry.scope.asset,
            entry.scope.partition,
            entry.outcome.record_key,
            entry.outcome.stage,
            entry.outcome.unit_key,
            entry.outcome.status,
            entry.outcome.attempts,
            round(entry.outcome.seconds, 3),
            _time(entry.outcome.ended_at),
            _clipped(str(entry.outcome.error or "")),
        ]
        for entry in shown
    ]
    _print_table(names, rows)


@ledger.command()
@_url
@_json
@_lineage
@_asset
@_partition
@click.option("--older-than", metavar="AGE", callback=_age, help="Not written to for so long: 30d, 12h, 2w.")
@click.option("--keep-last", metavar="N", callback=_number, help="All but the N newest lineages of an asset.")
@click.option("--claims", metavar="NAMESPACE", help="Remove settled claims of this namespace instead.")
@click.option("--unconfirmed", is_flag=True, help="With --claims: also claims that nobody confirmed.")
def prune(
    url: str | None,
    as_json: bool,
    lineage: str | None,
    asset: str | None,
    partition: str | None,
    older_than: float | None,
    keep_last: int | None,
    claims: str | None,
    unconfirmed: bool,
) -> None:
    """Remove the outcomes of whole lineages that meet all conditions given.

    At least one condition is required. A run whose outcomes are gone computes its units again when it is
    re-executed. Claims stay, unless --claims names whose to remove.
    """
    before = None if older_than is None else time.time() - older_than
    scope = (lineage, asset, partition, keep_last)
    if claims is not None:
        if before is None or any(condition is not None for condition in scope):
            raise click.UsageError("--claims goes with --older-than and with no other condition")
        with _opened_claims(url) as opened_claims:
            removed = opened_claims.prune(claims, claimed_before=before, unconfirmed=unconfirmed)
        _print_claims(removed, "Removed", as_json=as_json)
        return
    if unconfirmed:
        raise click.UsageError("--unconfirmed goes with --claims NAMESPACE")
    if before is None and all(condition is None for condition in scope):
        raise click.UsageError("prune needs --older-than, --keep-last, --lineage, --asset or --partition")
    with _opened_ledger(url) as opened:
        wanted = LedgerFilter(_whole_lineage(opened, lineage), asset, partition)
        pruned = opened.prune(wanted, ended_before=before, keep_last=keep_last)
    if as_json:
        _print_json(asdict(pruned))
    else:
        click.echo(f"Removed {pruned.outcomes} outcomes of {pruned.scopes} lineages and assets.")


@ledger.command()
@_url
@_json
@click.option("--namespace", help="Only this namespace.")
@click.option("--state", type=click.Choice(get_args(ClaimState)), help="Only claims in this state.")
@_limit("claims")
def claims(
    url: str | None, as_json: bool, namespace: str | None, state: ClaimState | None, limit: int
) -> None:
    """Print the claims of side effects."""
    with _opened_claims(url) as opened:
        found = opened.listing(namespace, state=state, limit=limit + 1)
    shown = _first(found, limit)
    if as_json:
        _print_json([asdict(claim) for claim in shown])
        return
    rows = [
        [
            claim.namespace,
            claim.key,
            claim.state,
            claim.run_id,
            _time(claim.claimed_at),
            "" if claim.confirmed_at is None else _time(claim.confirmed_at),
            "" if claim.detail is None else _clipped(json.dumps(claim.detail, ensure_ascii=False)),
        ]
        for claim in shown
    ]
    _print_table(["namespace", "key", "state", "run", "claimed", "confirmed", "detail"], rows)


@ledger.command()
@_url
@_json
@click.argument("outcome", type=click.Choice(["happened", "did-not-happen"]))
@click.argument("namespace")
@click.argument("key", nargs=-1, required=True)
def settle(url: str | None, as_json: bool, outcome: str, namespace: str, key: Sequence[str]) -> None:
    """Settle unconfirmed claims.

    A claim stays unconfirmed where a worker was killed between claim and confirmation. Find out whether its effect
    happened, then say so here.
    """
    with _opened_claims(url) as opened:
        unconfirmed = {claim.key for claim in opened.listing(namespace, state="claimed")}
        if unknown := [one for one in key if one not in unconfirmed]:
            raise LedgerError(
                f"{namespace!r} holds no unconfirmed claim of {', '.join(map(repr, unknown))}; "
                f"`{_program()} claims --state claimed` lists those that there are. Nothing was changed."
            )
        if outcome == "happened":
            opened.confirm(namespace, {one: {"settled_by": "fanout-ledger"} for one in key}, "")
        else:
            opened.release(namespace, key)
    _print_claims(len(set(key)), "Settled", as_json=as_json)


def _opened_ledger(url: str | None) -> Ledger:
    return Ledger(url or default_ledger_url(), create=False)


def _opened_claims(url: str | None) -> Claims:
    return Claims(url or default_ledger_url(), create=False)


def _whole_lineage(opened: Ledger, start: str | None) -> str | None:
    """Return the one lineage whose id begins with *start*."""
    if start is None:
        return None
    found = {total.scope.lineage for total in opened.scopes() if total.scope.lineage.startswith(start)}
    if start in found:
        return start
    if len(found) == 1:
        return found.pop()
    what = f"{len(found)} lineages begin" if found else "No lineage begins"
    raise LedgerError(f"{what} with {start!r} in {opened.name}; `{_program()} list` prints all there are.")


def _program() -> str:
    """Return the name under which the verbs were called: `fanout ledger` or `fanout-ledger`."""
    verb = click.get_current_context()
    return verb.parent.command_path if verb.parent else verb.command_path


def _first(found: list[_T], limit: int) -> list[_T]:
    if len(found) > limit:
        click.echo(f"There are more than {limit}; --limit prints more.", err=True)
    return found[:limit]


def _flat(entry: dict[str, Any]) -> dict[str, Any]:
    outcome = entry.pop("outcome")
    return {**entry, **outcome}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")


def _clipped(text: str, longest: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _print_table(names: list[str], rows: Sequence[Sequence[object]]) -> None:
    table = [names, *([_cell(value) for value in row] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    table.insert(1, ["-" * width for width in widths])
    lines = ("  ".join(map(str.ljust, line, widths)).rstrip() for line in table)
    click.echo("\n".join(lines))


def _cell(value: object) -> str:
    # A key may hold anything, also what would break the table or steer the terminal.
    text = str(value)
    return text if text.isprintable() else repr(text)[1:-1]


def _print_claims(count: int, done: str, *, as_json: bool) -> None:
    if as_json:
        _print_json({"claims": count})
    else:
        click.echo(f"{done} {count} claims.")


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2))
