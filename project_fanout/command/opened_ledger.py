"""What the verbs that read a ledger have in common: which one, and what becomes of its errors."""

import os
import sys
from typing import Any

import click

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Ledger, default_ledger_url

CONTEXT = {"help_option_names": ["-h", "--help"]}

url_option = click.option(
    "--url",
    help="File or SQLAlchemy URL. Default: FANOUT_LEDGER_URL, else fanout_ledger.db in DAGSTER_HOME.",
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
    return Ledger(url or default_ledger_url(), create=False)
