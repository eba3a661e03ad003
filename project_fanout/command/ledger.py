"""The verbs of `fanout ledger`: list, show and prune unit outcomes, and settle claims."""

import json
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, TypeVar, get_args

import click

from project_fanout.command.opened_ledger import (
    CONTEXT,
    LedgerGroup,
    json_option,
    ledger_url,
    opened_ledger,
    url_option,
)
from project_fanout.command.printing import Columns, print_json, print_table, time_text
from project_fanout.common import one_line
from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Ledger, LedgerFilter
from project_fanout.engine.ledger.claims import Claim, Claims, ClaimState
from project_fanout.engine.ledger.entry import LedgerEntry, LedgerSummary
from project_fanout.engine.model import STATUSES, Status

_T = TypeVar("_T")

_LONGEST = 80  # characters of an error or detail in a table
_NUMBER = click.IntRange(0, 999_999_999)
_SECONDS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def _age(_context: click.Context, _option: click.Parameter, text: str | None) -> float | None:
    """Return an age in seconds."""
    if text is None:
        return None
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    if not found:
        raise click.BadParameter(f"{text!r} is not an age; accepted: a number and m, h, d or w, e.g. 30d")
    return float(found[1]) * _SECONDS[found[2]]


_lineage = click.option("--lineage", help="Only this root run: its id, or how it begins.")
_asset = click.option("--asset", help="Only this asset.")
_partition = click.option("--partition", help="Only this partition.")


def _limit(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    text = f"Print at most N {what}."
    return click.option("--limit", metavar="N", type=_NUMBER, default=50, show_default=True, help=text)


@click.group(cls=LedgerGroup, no_args_is_help=False, context_settings=CONTEXT)
def ledger() -> None:
    """List, show and prune unit outcomes, and settle claims."""


@ledger.command("list")
@url_option
@json_option
@_lineage
@_asset
@_partition
def list_(
    url: str | None, as_json: bool, lineage: str | None, asset: str | None, partition: str | None
) -> None:
    """Count outcomes by lineage and asset."""
    with opened_ledger(url) as opened:
        found = opened.scopes(LedgerFilter(_whole_lineage(opened, lineage), asset, partition))
    columns: Columns[LedgerSummary] = {
        "lineage": lambda total: total.scope.lineage,
        "asset": lambda total: total.scope.asset,
        "partition": lambda total: total.scope.partition,
        **{status: partial(_count, status) for status in STATUSES},
        "first": lambda total: time_text(total.first_at),
        "last": lambda total: time_text(total.last_at),
        "bytes": lambda total: total.size_bytes,
    }
    _print_all(found, columns, as_json=as_json)


def _count(status: Status, total: LedgerSummary) -> int:
    return total.units.get(status, 0)


@ledger.command()
@click.argument("lineage")
@url_option
@json_option
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
    with opened_ledger(url) as opened:
        wanted = LedgerFilter(_whole_lineage(opened, lineage), asset, partition, record, status)
        found = opened.entries(wanted, limit=limit + 1)
    columns: Columns[LedgerEntry] = {
        "asset": lambda entry: entry.scope.asset,
        "partition": lambda entry: entry.scope.partition,
        "record": lambda entry: entry.outcome.record_key,
        "stage": lambda entry: entry.outcome.stage,
        "unit": lambda entry: entry.outcome.unit_key,
        "status": lambda entry: entry.outcome.status,
        "attempts": lambda entry: entry.outcome.attempts,
        "seconds": lambda entry: round(entry.outcome.seconds, 3),
        "ended": lambda entry: time_text(entry.outcome.ended_at),
        "error": lambda entry: one_line(str(entry.outcome.error or ""), _LONGEST),
    }
    _print_all(_first(found, limit), columns, as_json=as_json)


@ledger.command()
@url_option
@json_option
@_lineage
@_asset
@_partition
@click.option("--older-than", metavar="AGE", callback=_age, help="Not written to for so long: 30d, 12h, 2w.")
@click.option("--keep-last", metavar="N", type=_NUMBER, help="All but the N newest lineages of an asset.")
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
    with opened_ledger(url) as opened:
        wanted = LedgerFilter(_whole_lineage(opened, lineage), asset, partition)
        pruned = opened.prune(wanted, ended_before=before, keep_last=keep_last)
    if as_json:
        print_json(asdict(pruned))
    else:
        click.echo(f"Removed {pruned.outcomes} outcomes of {pruned.scopes} lineages and assets.")


@ledger.command()
@url_option
@json_option
@click.option("--namespace", help="Only this namespace.")
@click.option("--state", type=click.Choice(get_args(ClaimState)), help="Only claims in this state.")
@_limit("claims")
def claims(
    url: str | None, as_json: bool, namespace: str | None, state: ClaimState | None, limit: int
) -> None:
    """Print the claims of side effects."""
    with _opened_claims(url) as opened:
        found = opened.listing(namespace, state=state, limit=limit + 1)
    columns: Columns[Claim] = {
        "namespace": lambda claim: claim.namespace,
        "key": lambda claim: claim.key,
        "state": lambda claim: claim.state,
        "run": lambda claim: claim.run_id,
        "claimed": lambda claim: time_text(claim.claimed_at),
        "confirmed": lambda claim: time_text(claim.confirmed_at),
        "detail": _detail,
    }
    _print_all(_first(found, limit), columns, as_json=as_json)


@ledger.command()
@url_option
@json_option
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


def _opened_claims(url: str | None) -> Claims:
    return Claims(url or ledger_url(), create=False)


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


def _detail(claim: Claim) -> str:
    text = "" if claim.detail is None else json.dumps(claim.detail, ensure_ascii=False)
    return one_line(text, _LONGEST)


def _print_all(found: Sequence[_T], columns: Columns[_T], *, as_json: bool) -> None:
    """Print what was found as a table, or all of its fields as JSON."""
    if as_json:
        print_json([_fields(one) for one in found])
        return
    print_table(found, columns)


def _fields(found: Any) -> dict[str, Any]:
    """Return the fields of a dataclass; those of an entry's outcome stand beside its own."""
    fields = asdict(found)
    outcome = fields.pop("outcome", {})
    return {**fields, **outcome}


def _print_claims(count: int, done: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"claims": count})
    else:
        click.echo(f"{done} {count} claims.")
