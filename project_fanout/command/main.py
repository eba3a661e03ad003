"""The programs `fanout` and `fanout-ledger`."""

import importlib
from typing import Any

import click

#: Each verb or group of them: where it is, and what `fanout --help` says of it without importing it (SQLAlchemy takes
#: 0.4 s).
_VERBS = {
    "status": ("project_fanout.command.status", "Say how far a run is."),
    "plan": ("project_fanout.command.plan", "Say what a run would do; run no unit."),
    "report": ("project_fanout.command.report", "Write what a run did as one HTML page."),
    "explain": ("project_fanout.command.explain", "Say why a unit waited, ran, or was not run."),
    "retry": ("project_fanout.command.retry", "Try chosen units of a run again."),
    "ledger": ("project_fanout.command.ledger", "List, show and prune unit outcomes, and settle claims."),
}


class _Verbs(click.Group):
    """Imports a verb when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click calls it with that
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002  # likewise
        return _verb(cmd_name) if cmd_name in _VERBS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _VERBS.items()])


def _verb(name: str) -> Any:
    module, _ = _VERBS[name]
    return getattr(importlib.import_module(module), name)


@click.command(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="project_fanout", message="%(version)s")
def fanout() -> None:
    """See what fan-outs have done, and tidy up after them."""


def fanout_ledger() -> None:
    """Run `fanout ledger` under the name that it had before."""
    _verb("ledger").main(prog_name="fanout-ledger")
