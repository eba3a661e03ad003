"""What the verbs that read a ledger have in common: which one, and what becomes of its errors."""

import os
import sys
from pathlib import Path
from typing import Any

import click

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import LEDGER_URL, Ledger, default_ledger_url

CONTEXT = {"help_option_names": ["-h", "--help"]}

url_option = click.option(
    "--url",
    help="File or SQLAlchemy URL. Default: FANOUT_LEDGER_URL, else that of the instance in DAGSTER_HOME.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


class LedgerVerb(click.Command):
    """A verb that reads a ledger: it ends with 1 after an error of the ledger, with 0 where nobody reads on."""

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


class LedgerGroup(LedgerVerb, click.Group):
    """A group of such verbs."""


def opened_ledger(url: str | None) -> Ledger:
    """Return the ledger at *url*, or where it is by default.

    Raises:
        LedgerError: there is none.
    """
    return Ledger(url or ledger_url(), create=False)


def ledger_url() -> str:
    """Return where the ledger of runs is that are started in this shell.

    Raises:
        LedgerError: neither FANOUT_LEDGER_URL nor DAGSTER_HOME is set.
    """
    url = default_ledger_url()
    if os.environ.get(LEDGER_URL) or Path(url).exists():
        return url
    settings = Path(url).with_name("dagster.yaml")
    # To import Dagster takes a second or two: only where it has a database that may hold the ledger.
    if settings.exists() and "postgres" in settings.read_text(encoding="utf-8"):
        import dagster as dg  # noqa: PLC0415  # see above

        from project_fanout.orchestration.instance_ledger import instance_ledger  # noqa: PLC0415  # see above

        with dg.DagsterInstance.get() as instance:
            return instance_ledger(instance).url
    return url
