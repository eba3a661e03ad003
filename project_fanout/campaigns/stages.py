"""The two stages of a campaign: prepare a page of recipients, send a batch of letters."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from functools import lru_cache
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, MinLen
from sqlalchemy import make_url

from project_fanout.campaigns.addresses import INVALID_ADDRESS
from project_fanout.campaigns.delivery import Delivery
from project_fanout.campaigns.errors import CampaignError, UnfitRecipientError
from project_fanout.campaigns.folders import private_folder
from project_fanout.campaigns.idle_senders import borrowed_sender
from project_fanout.campaigns.message import Bodies, Composer, Letter
from project_fanout.campaigns.recipients import (
    Recipient,
    RecipientList,
    read_columns,
    read_duplicates,
    read_rows,
    read_single_rows,
)
from project_fanout.campaigns.rows import RowRange
from project_fanout.campaigns.settings import (
    DEFAULT_MESSAGE,
    DEFAULT_SERVER,
    Destination,
    MailServer,
    Message,
)
from project_fanout.campaigns.spool import Batch, read_batch, write_batch
from project_fanout.campaigns.suppression import SUPPRESSED, suppressed_keys
from project_fanout.engine import Fanout, Record, Unit
from project_fanout.engine.ledger.database import LEDGER_URL
from project_fanout.engine.stages import never_reused

DEFAULT_OUTPUT_DIR = "output/campaigns"

Campaign = Annotated[
    str,
    MinLen(1),
    "The campaign's name. Nobody gets two messages of one campaign, however often it is run; another "
    "name is another campaign.",
]
MessageParam = Annotated[
    Message,
    "What is sent: sender, reply_to, envelope_sender, subject, headers, text_template, html_template, "
    "unsubscribe_url, token_secret_variable. Templates are Jinja2 and know the columns of the list.",
]
Deliver = Annotated[
    bool,
    "Whether mail leaves this machine, to the host of mail_server. Otherwise it is kept in a Maildir in output_dir.",
]
OutputDir = Annotated[str, "Folder for lists, the Maildir, prepared batches and, by default, the claims."]


def read_pages(
    recipients: RecipientList,
    *,
    campaign: Campaign = "demo",
    message: MessageParam = DEFAULT_MESSAGE,
    page_size: Annotated[int, Ge(1), "Recipients of one page, which is one record."] = 1000,
) -> Iterator[Record]:
    """Yield a record per page of the list, with its rows as the one unit; the rows are read by the stage.

    Raises:
        CampaignError: a template or the sender is not usable, or a template needs a column that the list lacks.
    """
    check_message(recipients, campaign, message)
    for number, rows in enumerate(recipients.all.split(page_size), start=1):
        yield Record(f"page_{number}", [Unit(rows.key, {"recipients": recipients.path})])


def check_message(recipients: RecipientList, campaign: str, message: Message) -> None:
    """Refuse a message that nobody on the list could get.

    Raises:
        CampaignError: a template or the sender is not usable, or a template needs a column that the list lacks.
    """
    composer = _composer(campaign, message, Bodies.of(message))
    if recipients.rows:
        composer.check_columns(read_columns(recipients.path), recipients.source)


def prepare_email(
    unit: Unit,
    *,
    campaign: Campaign = "demo",
    message: MessageParam = DEFAULT_MESSAGE,
    output_dir: OutputDir = DEFAULT_OUTPUT_DIR,
    batch_size: Annotated[int, Ge(1), "Recipients that are sent to in one unit of the second stage."] = 100,
) -> Fanout:
    """Fetch, validate and render a page of recipients, and fan out to batches that are ready to be sent.

    A recipient who cannot be written to does not keep the others from it: the batch carries the reason.
    """
    page = RowRange.of_key(unit.key)
    path = unit.payload["recipients"]
    recipients = read_rows(path, page)
    folder = private_folder(Path(output_dir).expanduser().absolute()) / "spool"
    bodies = Bodies.of(message)
    prefix = _spool_prefix(path, campaign, message, bodies)
    composer = _composer(campaign, message, bodies)
    chosen = _first_complete(path, recipients, composer)
    units = []
    for rows in page.split(batch_size):
        own = recipients[rows.first - page.first : rows.last - page.first + 1]
        spool = folder / f"{prefix}-{rows.key}.json"
        write_batch(spool, _prepared(own, composer, chosen))
        units.append(Unit(rows.key, {"recipients": path, "spool": str(spool)}))
    return Fanout(units)


# A batch succeeds also when some of its recipients could not be reached: those a later run sends to.
@never_reused
def send_email(
    unit: Unit,
    *,
    campaign: Campaign = "demo",
    message: MessageParam = DEFAULT_MESSAGE,
    mail_server: MailServer = DEFAULT_SERVER,
    deliver: Deliver = False,
    output_dir: OutputDir = DEFAULT_OUTPUT_DIR,
    ledger_url: Annotated[
        str | None,
        "Database of the claims, an SQLAlchemy URL or a file. Default: FANOUT_LEDGER_URL, else deliveries.db in "
        "output_dir. Runs that must not send the same mail twice have to share it: with deliver, it or output_dir has "
        "to be absolute.",
    ] = None,
    suppress: Annotated[
        str | None,
        "File of addresses that get no message, whatever the list says: CSV with a column email, or one a line. It is "
        "read again for each batch, so whoever unsubscribes meanwhile is left out.",
    ] = None,
    resend_unknown: Annotated[
        bool,
        "Send again to recipients whose outcome is unknown; some may get the message twice.",
    ] = False,
) -> dict[str, Any]:
    """Send a batch and return one outcome per recipient, in the order of the list.

    Raises:
        CampaignError: the file of *suppress* cannot be read; the server cannot be used with these settings or takes
            nothing from this sender, also where it has taken some of the batch, which the claims know; or it is real
            delivery and the claims have no place of their own.
        LedgerError: the claims cannot be written.
    """
    spool = Path(unit.payload["spool"])
    batch = read_batch(spool)
    if batch is None:
        path = unit.payload["recipients"]
        recipients = read_rows(path, RowRange.of_key(unit.key))
        composer = _composer(campaign, message, Bodies.of(message))
        batch = _prepared(recipients, composer, _first_complete(path, recipients, composer))
    batch = _without_suppressed(batch, suppress)
    destination = Destination.of(mail_server, deliver=deliver, output_dir=output_dir)
    url = _claims_url(destination, output_dir, ledger_url or os.environ.get(LEDGER_URL))
    with borrowed_sender(campaign, destination, url) as sender:
        sent = sender.deliver(batch.letters, resend_unknown=resend_unknown)
        if sender.stopped is not None:
            raise _cut_short(sender.stopped, sent)
    deliveries = [*batch.settled, *sent]
    spool.unlink(missing_ok=True)
    return {"deliveries": [known.to_json() for known in sorted(deliveries, key=attrgetter("row"))]}


def _without_suppressed(batch: Batch, file: str | None) -> Batch:
    if file is None:
        return batch
    keys = suppressed_keys(file)
    left_out = [
        Delivery(letter.row, letter.key, "refused", SUPPRESSED, f"in {file}")
        for letter in batch.letters
        if letter.key in keys
    ]
    letters = [letter for letter in batch.letters if letter.key not in keys]
    return Batch(letters, [*batch.settled, *left_out])


def _cut_short(error: CampaignError, outcomes: Sequence[Delivery]) -> CampaignError:
    accepted = sum(delivery.status == "sent" for delivery in outcomes)
    return type(error)(
        f"{error} Of the {len(outcomes):,} letters of this batch, {accepted:,} had been accepted; nobody gets a second."
    )


def _claims_url(destination: Destination, output_dir: str, given: str | None) -> str:
    """Return the database of the claims; for real delivery it has to be the same from whatever folder.

    Raises:
        CampaignError: it would be another one from another folder.
    """
    url = given or str(Path(output_dir).expanduser() / "deliveries.db")
    file = url
    if "://" in url:
        # Of another database than SQLite, any is the same from everywhere.
        file = make_url(url).database or "" if url.startswith("sqlite") else "/"
    if destination.maildir is None and not os.path.isabs(os.path.expanduser(file.removeprefix("file:"))):
        raise CampaignError(
            f"deliver is true, but the claims that say who has got the message would be in {url}, which is another "
            "file for each folder that a run is started from: set ledger_url or FANOUT_LEDGER_URL to a database, or "
            "output_dir to an absolute path, and keep that."
        )
    return url if given else str(destination.output_dir / "deliveries.db")


@lru_cache(maxsize=4)
def _composer(campaign: str, message: Message, bodies: Bodies) -> Composer:
    return Composer(campaign, message, bodies)


def _prepared(recipients: Sequence[Recipient], composer: Composer, chosen: Mapping[int | None, int]) -> Batch:
    """Return the letters to *recipients*, and what keeps the others from one; *chosen*: see `_first_complete`."""
    date = datetime.now(timezone.utc)
    letters: dict[str, Letter] = {}
    settled: list[Delivery] = []
    for recipient in recipients:
        first = chosen.get(recipient.duplicate_of)
        if first is not None and first < recipient.row:
            settled.append(_duplicate(recipient, first))
            continue
        try:
            letter = composer.compose(recipient, date)
        except UnfitRecipientError as error:
            detail = error.detail or None
            settled.append(Delivery(recipient.row, recipient.email, "refused", error.reason, detail))
            continue
        if letter.key in letters:
            # Two spellings that the list took for two addresses.
            settled.append(_duplicate(recipient, letters[letter.key].row))
            continue
        letters[letter.key] = letter
    return Batch(list(letters.values()), settled)


def _duplicate(recipient: Recipient, row: int) -> Delivery:
    return Delivery(recipient.row, recipient.email, "duplicate", "same address", f"as in row {row}")


def _first_complete(path: str, recipients: Sequence[Recipient], composer: Composer) -> dict[int | None, int]:
    """Return for each first row that one of *recipients* is a duplicate of which row gets the letter, if any does.

    It is the first row with the address that a letter can be written from, so that a row with an empty
    cell does not keep a complete one from it. It depends on the list and the message alone: all batches
    that hold rows of one address agree.
    """
    firsts = {recipient.duplicate_of for recipient in recipients if recipient.duplicate_of is not None}
    chosen: dict[int | None, int] = {}
    if not firsts:
        return chosen
    incomplete: set[int] = set()
    for first in read_single_rows(path, firsts):
        reason = _reason_against(composer, first)
        if reason is None:
            chosen[first.row] = first.row
        elif reason != INVALID_ADDRESS:  # which the others have in common with it
            incomplete.add(first.row)
    for later in read_duplicates(path, incomplete, recipients[-1].row) if incomplete else ():
        if later.duplicate_of not in chosen and _reason_against(composer, later) is None:
            chosen[later.duplicate_of] = later.row
    return chosen


def _reason_against(composer: Composer, recipient: Recipient) -> str | None:
    """Return why no letter can be written to *recipient*, None if one can."""
    try:
        composer.compose(recipient, datetime.now(timezone.utc))
    except UnfitRecipientError as error:
        return error.reason
    return None


def _spool_prefix(path: str, campaign: str, message: Message, bodies: Bodies) -> str:
    """Return what tells this campaign's batches from those of others, and of other versions of it."""
    parts = (path, campaign, asdict(message), asdict(bodies))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]
