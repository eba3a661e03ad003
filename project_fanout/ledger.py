"""The command `fanout-ledger`: list, show and prune unit outcomes, and settle claims."""

import argparse
import json
import re
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from typing import Any, TypeVar, get_args

from tabulate import tabulate

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Ledger, LedgerFilter, default_ledger_url
from project_fanout.engine.ledger.claims import Claims, ClaimState
from project_fanout.engine.model import STATUSES

_T = TypeVar("_T")

_SECONDS = {"m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return 0, 1 after an error (told on stderr), or 2 where *arguments* are wrong."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if chosen.command == "prune":
        _check_prune(parser, chosen)
    try:
        url = chosen.url or default_ledger_url()
        return int(chosen.run(url, chosen))
    except LedgerError as error:
        print(f"fanout-ledger: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output, e.g. `head`, has seen enough.
        sys.stderr.close()
        return 0


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--url",
        help="file or SQLAlchemy URL (default: FANOUT_LEDGER_URL, else fanout_ledger.db in DAGSTER_HOME)",
    )
    common.add_argument("--json", action="store_true", help="print JSON in place of a table")
    scope = argparse.ArgumentParser(add_help=False)
    scope.add_argument("--asset", help="only this asset")
    scope.add_argument("--partition", help="only this partition")
    parser = argparse.ArgumentParser(prog="fanout-ledger", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)

    listed = commands.add_parser("list", parents=[common, scope], help="count outcomes by lineage and asset")
    listed.add_argument("--lineage", help="only this root run: its id, or how it begins")
    listed.set_defaults(run=_list)

    shown = commands.add_parser("show", parents=[common, scope], help="print the outcomes of a lineage")
    shown.add_argument("lineage", help="root run: its id, or how it begins")
    shown.add_argument("--record", help="only this record")
    shown.add_argument("--status", choices=STATUSES, help="only outcomes of this status")
    shown.add_argument("--limit", type=_number, default=50, help="most outcomes to print (default: 50)")
    shown.set_defaults(run=_show)

    pruned = commands.add_parser(
        "prune",
        parents=[common, scope],
        help="remove outcomes that meet all conditions given",
        description="Remove the outcomes of whole lineages that meet all conditions given; at least one is. "
        "A run whose outcomes are gone computes its units again when it is re-executed. Claims stay, "
        "unless --claims names whose to remove.",
    )
    pruned.add_argument("--lineage", help="this root run: its id, or how it begins")
    pruned.add_argument(
        "--older-than", type=_age, metavar="AGE", help="last written so long ago: 30d, 12h, 2w"
    )
    pruned.add_argument(
        "--keep-last", type=_number, metavar="N", help="not the N newest lineages of an asset"
    )
    pruned.add_argument(
        "--claims", metavar="NAMESPACE", help="remove settled claims of this namespace instead"
    )
    pruned.add_argument(
        "--unconfirmed", action="store_true", help="with --claims: also claims nobody confirmed"
    )
    pruned.set_defaults(run=_prune)

    claims = commands.add_parser("claims", parents=[common], help="print the claims of side effects")
    claims.add_argument("--namespace", help="only this namespace")
    claims.add_argument("--state", choices=get_args(ClaimState), help="only claims in this state")
    claims.add_argument("--limit", type=_number, default=50, help="most claims to print (default: 50)")
    claims.set_defaults(run=_claims)

    settled = commands.add_parser(
        "settle",
        parents=[common],
        help="say what became of claims that were left unconfirmed",
        description="A claim stays unconfirmed where a worker was killed between claim and confirmation. "
        "Find out whether its effect happened, then say so here.",
    )
    settled.add_argument("outcome", choices=["happened", "did-not-happen"])
    settled.add_argument("namespace")
    settled.add_argument("key", nargs="+")
    settled.set_defaults(run=_settle)
    return parser


def _check_prune(parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> None:
    scope = (chosen.lineage, chosen.asset, chosen.partition, chosen.keep_last)
    if chosen.claims is None:
        if chosen.unconfirmed:
            parser.error("--unconfirmed goes with --claims NAMESPACE")
        if chosen.older_than is None and all(each is None for each in scope):
            parser.error("prune needs --older-than, --keep-last, --lineage, --asset or --partition")
    elif chosen.older_than is None or any(each is not None for each in scope):
        parser.error("--claims goes with --older-than and with no other condition")


def _list(url: str, chosen: argparse.Namespace) -> int:
    with Ledger(url, create=False) as ledger:
        lineage = _lineage(ledger, chosen.lineage)
        found = ledger.scopes(LedgerFilter(lineage, chosen.asset, chosen.partition))
    if chosen.json:
        return _print_json([asdict(each) for each in found])
    rows = [
        [
            each.scope.lineage,
            each.scope.asset,
            each.scope.partition,
            *(each.units.get(status, 0) for status in STATUSES),
            _time(each.first_at),
            _time(each.last_at),
            each.size_bytes,
        ]
        for each in found
    ]
    return _print_table(["lineage", "asset", "partition", *STATUSES, "first", "last", "bytes"], rows)


def _first(found: list[_T], limit: int) -> list[_T]:
    if len(found) > limit:
        print(f"There are more than {limit}; --limit prints more.", file=sys.stderr)
    return found[:limit]


def _flat(entry: dict[str, Any]) -> dict[str, Any]:
    outcome = entry.pop("outcome")
    return {**entry, **outcome}


def _show(url: str, chosen: argparse.Namespace) -> int:
    with Ledger(url, create=False) as ledger:
        lineage = _lineage(ledger, chosen.lineage)
        wanted = LedgerFilter(lineage, chosen.asset, chosen.partition, chosen.record, chosen.status)
        found = ledger.entries(wanted, limit=chosen.limit + 1)
    shown = _first(found, chosen.limit)
    if chosen.json:
        return _print_json([_flat(asdict(each)) for each in shown])
    rows = [
        [
            each.scope.asset,
            each.scope.partition,
            each.outcome.record_key,
            each.outcome.stage,
            each.outcome.unit_key,
            each.outcome.status,
            each.outcome.attempts,
            round(each.outcome.seconds, 3),
            _time(each.outcome.ended_at),
            _clipped(str(each.outcome.error or "")),
        ]
        for each in shown
    ]
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
    return _print_table(names, rows)


def _prune(url: str, chosen: argparse.Namespace) -> int:
    before = None if chosen.older_than is None else time.time() - chosen.older_than
    if chosen.claims is not None:
        with Claims(url, create=False) as claims:
            removed = claims.prune(chosen.claims, claimed_before=before or 0, unconfirmed=chosen.unconfirmed)
        return _print_json({"claims": removed}) if chosen.json else _say(f"Removed {removed} claims.")
    with Ledger(url, create=False) as ledger:
        wanted = LedgerFilter(_lineage(ledger, chosen.lineage), chosen.asset, chosen.partition)
        pruned = ledger.prune(wanted, ended_before=before, keep_last=chosen.keep_last)
    if chosen.json:
        return _print_json(asdict(pruned))
    return _say(f"Removed {pruned.outcomes} outcomes of {pruned.scopes} lineages and assets.")


def _claims(url: str, chosen: argparse.Namespace) -> int:
    with Claims(url, create=False) as claims:
        found = claims.listing(chosen.namespace, state=chosen.state, limit=chosen.limit + 1)
    shown = _first(found, chosen.limit)
    if chosen.json:
        return _print_json([asdict(each) for each in shown])
    rows = [
        [
            each.namespace,
            each.key,
            each.state,
            each.run_id,
            _time(each.claimed_at),
            "" if each.confirmed_at is None else _time(each.confirmed_at),
            "" if each.detail is None else _clipped(json.dumps(each.detail, ensure_ascii=False)),
        ]
        for each in shown
    ]
    return _print_table(["namespace", "key", "state", "run", "claimed", "confirmed", "detail"], rows)


def _settle(url: str, chosen: argparse.Namespace) -> int:
    with Claims(url, create=False) as claims:
        unconfirmed = {claim.key for claim in claims.listing(chosen.namespace, state="claimed")}
        if unknown := [key for key in chosen.key if key not in unconfirmed]:
            raise LedgerError(
                f"{chosen.namespace!r} holds no unconfirmed claim of {', '.join(map(repr, unknown))}; "
                "`fanout-ledger claims --state claimed` lists those that there are. Nothing was changed."
            )
        if chosen.outcome == "happened":
            claims.confirm(chosen.namespace, {key: {"settled_by": "fanout-ledger"} for key in chosen.key}, "")
        else:
            claims.release(chosen.namespace, chosen.key)
    settled = len(set(chosen.key))
    return _print_json({"claims": settled}) if chosen.json else _say(f"Settled {settled} claims.")


def _lineage(ledger: Ledger, start: str | None) -> str | None:
    """Return the one lineage whose id begins with *start*."""
    if start is None:
        return None
    found = {each.scope.lineage for each in ledger.scopes() if each.scope.lineage.startswith(start)}
    if start in found:
        return start
    if len(found) == 1:
        return found.pop()
    what = f"{len(found)} lineages begin" if found else "No lineage begins"
    raise LedgerError(f"{what} with {start!r} in {ledger.name}; `fanout-ledger list` prints all there are.")


def _age(text: str) -> float:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([mhdw])", text)
    if not found:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an age; accepted: a number and m, h, d or w, e.g. 30d"
        )
    return float(found[1]) * _SECONDS[found[2]]


def _number(text: str) -> int:
    if not re.fullmatch(r"\d{1,9}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 to 999999999")
    return int(text)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%d %H:%M:%SZ")


def _clipped(text: str, longest: int = 80) -> str:
    line = " ".join(text.split())
    return line if len(line) <= longest else f"{line[: longest - 1]}…"


def _print_table(names: list[str], rows: list[list[Any]]) -> int:
    # A key may hold anything, also what would break the table or steer the terminal.
    shown = [[repr(cell)[1:-1] if _is_odd(cell) else cell for cell in row] for row in rows]
    return _say(tabulate(shown, headers=names, disable_numparse=True))


def _is_odd(cell: object) -> bool:
    return isinstance(cell, str) and not cell.isprintable()


def _print_json(value: object) -> int:
    return _say(json.dumps(value, indent=2))


def _say(text: str) -> int:
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
