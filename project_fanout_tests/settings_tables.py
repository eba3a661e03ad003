"""The tables of settings in README and docs, made of their declarations: `make tables` renews them.

A table stands between `<!-- settings: NAME -->` and `<!-- end -->`, with a NAME of `TABLES`.
"""

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any

import dagster as dg

from project_fanout.campaigns.assets import MAIL_SERVER, MailServerResource
from project_fanout.campaigns.stages import prepare_email, read_pages, send_email
from project_fanout.engine import FanoutPolicy
from project_fanout.engine.annotations import accepted_words, description_of
from project_fanout.engine.params import Params
from project_fanout.engine.settings import declared_settings
from project_fanout.forks.assets import RemoteFilesResource
from project_fanout.images.photographs import read_photographs
from project_fanout.images.renditions import render
from project_fanout.orchestration import LedgerResource, UnitPoolResource
from project_fanout_tests.processes import ROOT

COMMAND = "make tables"
PAGES = ("README.md", *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md"))))
_BLOCK = re.compile(r"(<!-- settings: (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)

_BAR = "\\|"  # in a cell
_LONGEST_DEFAULT = 60

Setting = tuple[str, Any, Any]


def of_policy() -> Iterable[Setting]:
    """Return the fields of the policy: name, declaration, default."""
    return [
        (name, kind, getattr(FanoutPolicy(), name)) for name, kind in declared_settings(FanoutPolicy).items()
    ]


def of_resource(resource: type[dg.ConfigurableResource[Any]]) -> Iterable[Setting]:
    """Return the fields of a resource."""
    for name, field in resource.model_fields.items():
        parts = (field.annotation, *field.metadata)
        yield name, Annotated[parts], field.default


def of_params(params: Params) -> Iterable[Setting]:
    """Return the params of an asset."""
    for param in params:
        yield (
            param.name,
            param.annotation,
            param.default if param.default is None else param.to_json(param.default),
        )


TABLES: dict[str, Callable[[], Iterable[Setting]]] = {
    "FanoutPolicy": of_policy,
    "UnitPoolResource": lambda: of_resource(UnitPoolResource),
    "LedgerResource": lambda: of_resource(LedgerResource),
    "MailServerResource": lambda: of_resource(MailServerResource),
    "RemoteFilesResource": lambda: of_resource(RemoteFilesResource),
    "web_renditions": lambda: of_params(Params(read_photographs, [render])),
    "campaign_delivery": lambda: of_params(
        Params(read_pages, [prepare_email, send_email], supplied={MAIL_SERVER: MailServerResource()})
    ),
}


def table(settings: Iterable[Setting]) -> str:
    """Return *settings* as a Markdown table, a row for each."""
    rows = [("name", "default", "accepted", "meaning"), ("---",) * 4]
    for name, annotation, default in settings:
        accepted = accepted_words(annotation)
        if default is None:
            accepted = accepted.replace(" | None", "")  # the default says it
        rows.append((f"`{name}`", _shown(default), accepted, description_of(annotation)))
    return "".join(f"| {' | '.join(cell.replace('|', _BAR) for cell in row)} |\n" for row in rows)


def _shown(default: Any) -> str:
    if default is None or default == []:
        return "none"
    if isinstance(default, list):
        return ", ".join(map(str, default))
    if isinstance(default, dict):
        text = ", ".join(f"{name} {value}" for name, value in default.items())
        return text if len(text) <= _LONGEST_DEFAULT else "as shipped"
    return str(default).lower() if isinstance(default, bool) else str(default)


def renewed(text: str) -> str:
    """Return the text of a page with its tables as the declarations are now.

    Raises:
        KeyError: there is no table of that name.
    """
    return _BLOCK.sub(lambda block: block[1] + table(TABLES[block[2]]()) + block[3], text)


if __name__ == "__main__":
    for name in PAGES:
        page = ROOT / name
        page.write_text(renewed(page.read_text()))
