"""Claims: who may have a side effect, such as sending an e-mail, that must happen once."""

import json
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import Connection, and_, delete, insert, select, update
from sqlalchemy.sql.expression import bindparam

from project_fanout.engine.closing import Closing
from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger.database import LedgerDatabase
from project_fanout.engine.ledger.rates import shared_rate
from project_fanout.engine.ledger.rows import chunks
from project_fanout.engine.ledger.schema import CLAIMS, digest
from project_fanout.engine.rate import Rate
from project_fanout.engine.values import to_json

ClaimState = Literal["claimed", "confirmed", "released"]
ClaimAnswer = Literal["claimed", "confirmed", "unknown"]


@dataclass(frozen=True, slots=True)
class Claim:
    """What is known of one side effect.

    Args:
        namespace: what kind of effect, e.g. a campaign.
        key: which one, e.g. a recipient.
        state: claimed (about to happen, or it happened and nobody could say so any more), confirmed
            (it happened), or released (it did not happen, and may be claimed again).
        run_id: the run that claimed it last, or confirmed it without a claim.
        claimed_at: when, in seconds since 1970 (UTC).
        confirmed_at: when it was confirmed; None unless it was.
        detail: the JSON value that was given with the confirmation, e.g. the server's answer.
    """

    namespace: str
    key: str
    state: ClaimState
    run_id: str
    claimed_at: float
    confirmed_at: float | None = None
    detail: Any = None


class Claims(Closing):
    """Claims in the ledger's database; every call is on disk when it returns.

    Claim, have the side effect, confirm. Whoever is killed in between leaves a claim that nobody else
    gets, so that the effect happens at most once, and the answer "unknown" says whom to ask about.
    Safe to use from many threads, and from many processes that each open their own. Calls with some
    dozens of keys are far cheaper than as many calls: each waits for the disk once.

    Args:
        url: an SQLAlchemy URL or the path of an SQLite file, the same as for `Ledger`.
        create: make the folder, the file and the tables where they are missing.
        lock_timeout_s: seconds to wait while another process keeps the database locked.

    Raises:
        LedgerError: the database cannot be opened or written, or has another version's tables.
    """

    def __init__(self, url: str | Path, *, create: bool = True, lock_timeout_s: float = 60.0) -> None:
        self._database = LedgerDatabase(url, create=create, lock_timeout_s=lock_timeout_s)

    def rate(self, name: str, per_second: float) -> Rate:
        """Return the rate *name*, which all who use this database share."""
        return shared_rate(self._database, name, per_second)

    def close(self) -> None:
        """Close the connections."""
        self._database.close()

    def claim(self, namespace: str, keys: Iterable[str], run_id: str) -> dict[str, ClaimAnswer]:
        """Claim *keys* and return for each of them who has it.

        Returns:
            claimed: you, now; nobody else gets this answer until you release it. confirmed: the effect
            has happened. unknown: somebody claimed it earlier, and whether the effect happened is not
            known.

        Raises:
            LedgerError: the database could not be written; then nothing has been claimed.
        """
        wanted = {digest(key): key for key in keys}
        token = uuid.uuid4().hex
        row = {"token": token, "run_id": run_id, "state": "claimed", "claimed_at": time.time()}
        if not wanted:
            return {}
        found = self._database.write(lambda connection: _claim(connection, namespace, wanted, row))
        answers: dict[str, ClaimAnswer] = {}
        for key_id, key in wanted.items():
            state, owner = found[key_id]
            answers[key] = "claimed" if owner == token else "confirmed" if state == "confirmed" else "unknown"
        return answers

    def confirm(self, namespace: str, details: Mapping[str, Any], run_id: str) -> None:
        """Note that the effects have happened; a confirmation stands, whatever the claim's state was.

        Args:
            namespace: what kind of effect.
            details: by key, a JSON value to keep with it, or None.
            run_id: noted where there was no claim.

        Raises:
            LedgerError: the database could not be written, or a detail is not JSON; then nothing is noted.
        """
        now = time.time()
        rows = {
            digest(key): {
                "namespace_id": digest(namespace),
                "key_id": digest(key),
                "namespace": namespace,
                "claim_key": key,
                "state": "confirmed",
                "token": "",
                "run_id": run_id,
                "claimed_at": now,
                "confirmed_at": now,
                "detail_json": None if detail is None else _detail_json(namespace, key, detail),
            }
            for key, detail in details.items()
        }
        if rows:
            self._database.write(lambda connection: _confirm(connection, namespace, rows))

    def release(self, namespace: str, keys: Iterable[str], *, run_id: str | None = None) -> int:
        """Give claims back whose effects have certainly not happened; return how many.

        What has been confirmed stays.

        Args:
            namespace: what kind of effect.
            keys: which ones.
            run_id: only those that this run claimed; None for anybody's, as a person may decide.

        Raises:
            LedgerError: the database could not be written.
        """
        of_run = [] if run_id is None else [CLAIMS.c.run_id == run_id]

        def work(connection: Connection) -> int:
            released = 0
            for some in chunks(sorted(set(map(digest, keys_wanted)))):
                chosen = _chosen(namespace, some)
                statement = update(CLAIMS).where(chosen, CLAIMS.c.state == "claimed", *of_run)
                released += connection.execute(statement.values(state="released", token="")).rowcount
            return released

        keys_wanted = list(keys)
        return self._database.write(work)

    def take_back(self, claims: Iterable[Claim]) -> int:
        """Release exactly these claims, as they were found; return how many still were so.

        One that has been settled since, or claimed again by whomever, stays as it is.

        Raises:
            LedgerError: the database could not be written.
        """
        found = list(claims)

        def work(connection: Connection) -> int:
            return sum(
                connection.execute(
                    update(CLAIMS)
                    .where(
                        _chosen(claim.namespace, [digest(claim.key)]),
                        CLAIMS.c.state == "claimed",
                        CLAIMS.c.run_id == claim.run_id,
                        CLAIMS.c.claimed_at == claim.claimed_at,
                    )
                    .values(state="released", token="")
                ).rowcount
                for claim in found
            )

        return self._database.write(work) if found else 0

    def find(self, namespace: str, keys: Iterable[str]) -> dict[str, Claim]:
        """Return the claims that there are on *keys*, by key.

        Raises:
            LedgerError: the database could not be read.
        """
        key_ids = sorted(set(map(digest, keys)))

        def work(connection: Connection) -> list[Claim]:
            return [
                _claim_of(row)
                for some in chunks(key_ids)
                for row in connection.execute(select(CLAIMS).where(_chosen(namespace, some))).mappings()
            ]

        return {claim.key: claim for claim in self._database.read(work)}

    def listing(
        self, namespace: str | None = None, *, state: ClaimState | None = None, limit: int | None = None
    ) -> list[Claim]:
        """Return claims, the oldest first.

        Raises:
            LedgerError: the database could not be read.
        """
        query = (
            select(CLAIMS)
            .where(*_matching(namespace, state))
            .order_by(CLAIMS.c.claimed_at, CLAIMS.c.namespace_id, CLAIMS.c.key_id)
            .limit(limit)
        )
        rows = self._database.read(lambda connection: connection.execute(query).mappings().all())
        return [_claim_of(row) for row in rows]

    def prune(self, namespace: str, *, claimed_before: float, unconfirmed: bool = False) -> int:
        """Remove claims of *namespace* made before a time; return how many. They can be claimed again.

        Args:
            namespace: what kind of effect.
            claimed_before: in seconds since 1970 (UTC).
            unconfirmed: also those of which nobody knows whether their effect happened.

        Raises:
            LedgerError: the database could not be written.
        """
        states = ["confirmed", "released", *(["claimed"] if unconfirmed else [])]
        statement = delete(CLAIMS).where(
            CLAIMS.c.namespace_id == digest(namespace),
            CLAIMS.c.claimed_at < claimed_before,
            CLAIMS.c.state.in_(states),
        )
        return self._database.write(lambda connection: connection.execute(statement).rowcount)


def _claim_of(row: Mapping[Any, Any]) -> Claim:
    return Claim(
        row["namespace"],
        row["claim_key"],
        row["state"],
        row["run_id"],
        row["claimed_at"],
        row["confirmed_at"],
        None if row["detail_json"] is None else json.loads(row["detail_json"]),
    )


def _claim(
    connection: Connection, namespace: str, wanted: Mapping[str, str], row: Mapping[str, Any]
) -> dict[str, tuple[str, str]]:
    """Insert what is missing, take what is released, and return state and token by key id."""
    found = _states(connection, namespace, wanted)
    missing = [
        {"namespace_id": digest(namespace), "namespace": namespace, "key_id": key_id, "claim_key": key, **row}
        for key_id, key in sorted(wanted.items())
        if key_id not in found
    ]
    if missing:
        # Another's insert of the same key lets this one fail as a whole, and it is tried again.
        connection.execute(insert(CLAIMS), missing)
        found.update((each["key_id"], (row["state"], row["token"])) for each in missing)
    released = sorted(key_id for key_id, (state, _) in found.items() if state == "released")
    for some in chunks(released):
        chosen = _chosen(namespace, some)
        connection.execute(update(CLAIMS).where(chosen, CLAIMS.c.state == "released").values(**row))
    if released:
        found.update(_states(connection, namespace, released))
    return found


def _confirm(connection: Connection, namespace: str, rows: Mapping[str, Mapping[str, Any]]) -> None:
    found = _states(connection, namespace, rows)
    if missing := [dict(rows[key_id]) for key_id in sorted(rows) if key_id not in found]:
        connection.execute(insert(CLAIMS), missing)
    if there := sorted(key_id for key_id, (state, _) in found.items() if state != "confirmed"):
        names = ("namespace_id", "key_id", "confirmed_at", "detail_json")
        values = [{f"new_{name}": rows[key_id][name] for name in names} for key_id in there]
        connection.execute(_CONFIRM, values)


_CONFIRM = (
    update(CLAIMS)
    .where(
        and_(
            CLAIMS.c.namespace_id == bindparam("new_namespace_id"), CLAIMS.c.key_id == bindparam("new_key_id")
        ),
        CLAIMS.c.state != "confirmed",
    )
    .values(
        state="confirmed",
        confirmed_at=bindparam("new_confirmed_at"),
        detail_json=bindparam("new_detail_json"),
    )
)


def _states(connection: Connection, namespace: str, key_ids: Iterable[str]) -> dict[str, tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for some in chunks(sorted(key_ids)):
        query = select(CLAIMS.c.key_id, CLAIMS.c.state, CLAIMS.c.token).where(_chosen(namespace, some))
        found.update((key_id, (state, token)) for key_id, state, token in connection.execute(query))
    return found


def _chosen(namespace: str, key_ids: Sequence[str]) -> Any:
    return and_(CLAIMS.c.namespace_id == digest(namespace), CLAIMS.c.key_id.in_(key_ids))


def _matching(namespace: str | None, state: ClaimState | None) -> list[Any]:
    matching: list[Any] = []
    if namespace is not None:
        matching.append(CLAIMS.c.namespace_id == digest(namespace))
    if state is not None:
        matching.append(CLAIMS.c.state == state)
    return matching


def _detail_json(namespace: str, key: str, detail: object) -> str:
    try:
        return to_json(detail, "detail")
    except TypeError as error:
        raise LedgerError(f"The confirmation of {key!r} in {namespace!r}: {error}") from None
