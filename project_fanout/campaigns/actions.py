"""The campaign's stages as actions, for job requests: a task is a page of a target list."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge

from project_fanout.campaigns.errors import CampaignError
from project_fanout.campaigns.recipients import build_list
from project_fanout.campaigns.rows import RowRange
from project_fanout.campaigns.settings import DEFAULT_MESSAGE, DEFAULT_SERVER, MailServer
from project_fanout.campaigns.stages import (
    DEFAULT_OUTPUT_DIR,
    Deliver,
    MessageParam,
    OutputDir,
    check_message,
    prepare_email,
    send_email,
)
from project_fanout.engine import Fanout, Unit
from project_fanout.engine.stages import never_reused
from project_fanout.forks.actions import Action


def prepare_recipients(
    unit: Unit,
    *,
    campaign: int | str,
    target_list: int | str,
    source: Annotated[
        str | None, "Path of the lists, with {target_list} in it. Default: the generated list of 100,000."
    ] = None,
    page_size: Annotated[int, Ge(1), "Recipients of one task."] = 1000,
    batch_size: Annotated[int, Ge(1), "Recipients of one task of the next job."] = 100,
    allow_empty: Annotated[
        bool, "Whether the list may have no recipients; otherwise the task fails."
    ] = False,
    message: MessageParam = DEFAULT_MESSAGE,
    output_dir: OutputDir = DEFAULT_OUTPUT_DIR,
) -> Fanout:
    """Prepare the page of the target list whose number, from 1, is the unit's payload; none past its end.

    Raises:
        CampaignError: the payload is no such number, the list cannot be read or has nobody on it, or a
            template needs a column that it lacks.
    """
    folder = Path(output_dir).expanduser().absolute()
    file = None if source is None else source.replace("{target_list}", str(target_list))
    found = build_list(folder, file, allow_empty=allow_empty)
    first = (_page_number(unit.payload) - 1) * page_size + 1
    page = RowRange(first, min(first + page_size - 1, found.rows))
    if page.last < page.first:
        return Fanout()
    check_message(found, str(campaign), message)
    return prepare_email(
        Unit(page.key, {"recipients": found.path}),
        campaign=str(campaign),
        message=message,
        output_dir=output_dir,
        batch_size=batch_size,
    )


def _page_number(item: object) -> int:
    try:
        number = int(str(item))
    except ValueError:
        number = 0
    if number < 1:
        raise CampaignError(
            f"The task is for {item!r}, accepted: the number of a page, 1 or more, as in fanout: range(1, 100)."
        )
    return number


@never_reused
def send_emails(
    unit: Unit,
    *,
    campaign: int | str,
    message: MessageParam = DEFAULT_MESSAGE,
    mail_server: MailServer = DEFAULT_SERVER,
    deliver: Deliver = False,
    output_dir: OutputDir = DEFAULT_OUTPUT_DIR,
    ledger_url: str | None = None,
    suppress: str | None = None,
    resend_unknown: bool = False,
) -> dict[str, Any]:
    """Send a prepared batch; see `send_email`.

    Raises:
        CampaignError: the payload is no prepared batch, or as `send_email`.
    """
    if not isinstance(unit.payload, dict) or "spool" not in unit.payload:
        raise CampaignError(
            f"send_emails was given {unit.payload!r}, which is no prepared batch: let it follow prepare_recipients, as "
            "in action_chain: [prepare_recipients, send_emails]."
        )
    return send_email(
        unit,
        campaign=str(campaign),
        message=message,
        mail_server=mail_server,
        deliver=deliver,
        output_dir=output_dir,
        ledger_url=ledger_url,
        suppress=suppress,
        resend_unknown=resend_unknown,
    )


#: Under both names that requests use for them.
ACTIONS: list[Action | Callable[..., Any]] = [
    prepare_recipients,
    send_emails,
    Action("prepare_email", [prepare_recipients]),
    Action("send_email", [send_emails]),
]
