"""What users rely on, as text: names, signatures, run config, resources, columns, errors, assets and commands.

`python -m project_fanout_tests.surface` writes it to `surface.txt`, and git shows what a change did to it.
"""

import configparser
import dataclasses
import importlib
import inspect
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, get_origin

import dagster as dg

from project_fanout.definitions import defs
from project_fanout.engine import errors
from project_fanout.orchestration import LedgerResource, UnitPoolResource, build_fanout_asset
from project_fanout.orchestration.table import COLUMNS
from project_fanout_tests.orchestration.documents import count_words, read_documents

word_counts = build_fanout_asset("word_counts", records=read_documents, stages=[count_words])

SNAPSHOT = Path(__file__).with_name("surface.txt")
SETTINGS = Path(__file__).parents[1] / "setup.cfg"

#: Where the docs tell users to import from.
FACES = ("project_fanout.engine", "project_fanout.orchestration", "project_fanout.forks")
#: The three kinds of assets, and those of Dagster's own kind.
CONFIGURED = ("word_counts", "dynamic_fork", "job_request")


def surface() -> str:
    """Return the whole of it."""
    sections = {
        "names": _names(),
        "errors": _errors(),
        "run config": _run_config(),
        "resources": _resources(),
        "table": iter([", ".join(COLUMNS)]),
        "code location": _code_location(),
        "commands": iter(_commands()),
    }
    return "\n".join(f"[{title}]\n" + "\n".join(lines) + "\n" for title, lines in sections.items())


def _names() -> Iterator[str]:
    for face in FACES:
        module = importlib.import_module(face)
        for name in sorted(getattr(module, "__all__", ())):
            thing = getattr(module, name)
            yield f"{face}.{name}{_signature(thing)}"
            if inspect.isclass(thing) and not issubclass(thing, Exception):
                yield from (f"    .{attribute}" for attribute in _public_attributes(thing))


def _signature(thing: Any) -> str:
    if not callable(thing) or isinstance(thing, dg.ExecutorDefinition):
        return f": {type(thing).__name__}"
    if inspect.isclass(thing) and issubclass(thing, Exception):
        return f"({', '.join(base.__name__ for base in thing.__bases__)})"
    signature = inspect.signature(thing)
    bare = [
        parameter.replace(annotation=getattr(parameter.annotation, "__origin__", parameter.annotation))
        if get_origin(parameter.annotation) is Annotated
        else parameter
        for parameter in signature.parameters.values()
    ]
    text = re.sub(r"<function (\w+) at 0x\w+>", r"\1", str(signature.replace(parameters=bare)))
    # Where a type is defined is no promise.
    return re.sub(r"\b(?:[a-z_]+\.)+(?=[A-Za-z_])", "", text)


def _public_attributes(kind: type) -> list[str]:
    if issubclass(kind, dg.ConfigurableResource):
        return []  # what units get is for the asset to ask for; its fields are below
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    own = {
        name for base in kind.__mro__ for name in vars(base) if base.__module__.startswith("project_fanout")
    }
    return sorted(name for name in own - fields if not name.startswith("_"))


def _errors() -> Iterator[str]:
    for name, kind in sorted(vars(errors).items()):
        if inspect.isclass(kind) and kind.__module__ == errors.__name__:
            yield f"{name}({', '.join(base.__name__ for base in kind.__bases__)})"


def _run_config() -> Iterator[str]:
    known = {
        asset.key.to_user_string(): asset for asset in (word_counts, *(defs.assets or ())) if _is_asset(asset)
    }
    for name in CONFIGURED:
        yield f"{name}:"
        yield from _fields(known[name].node_def.config_schema.config_type, 1)


def _is_asset(asset: Any) -> bool:
    return isinstance(asset, dg.AssetsDefinition) and len(asset.keys) == 1


def _resources() -> Iterator[str]:
    kinds = {key: type(resource) for key, resource in sorted((defs.resources or {}).items())}
    for key, kind in {"unit_pool": UnitPoolResource, "ledger": LedgerResource, **kinds}.items():
        if issubclass(kind, dg.ConfigurableResource):
            yield f"{key}: {kind.__name__}"
            yield from _fields(kind.to_config_schema().config_type, 1)


def _fields(config_type: Any, depth: int) -> Iterator[str]:
    for name, field in (getattr(config_type, "fields", None) or {}).items():
        default = f" = {json.dumps(field.default_value, default=str)}" if field.default_provided else ""
        required = " (required)" if field.is_required else ""
        inner = list(_fields(field.config_type, depth + 1))
        yield f"{'    ' * depth}{name}: {_type(field.config_type)}{'' if inner else default}{required}"
        if field.description:
            yield f"{'    ' * depth}  {field.description}"
        yield from inner


def _type(config_type: Any) -> str:
    if hasattr(config_type, "inner_type"):
        return f"{config_type.kind.value.lower()} of {_type(config_type.inner_type)}"
    name: str = config_type.given_name or config_type.kind.value.lower()
    return name


def _code_location() -> Iterator[str]:
    graph = defs.resolve_asset_graph()
    yield from sorted(f"asset {key.to_user_string()}" for key in graph.get_all_asset_keys())
    yield from sorted(
        f"check {key.name} of {key.asset_key.to_user_string()}" for key in graph.asset_check_keys
    )
    yield from sorted(f"job {job.name}" for job in defs.jobs or ())
    yield from sorted(f"schedule {schedule.name}" for schedule in defs.schedules or ())
    yield from sorted(f"resource {key}" for key in defs.resources or ())


def _commands() -> list[str]:
    settings = configparser.ConfigParser()
    settings.read(SETTINGS)
    return settings["options.entry_points"]["console_scripts"].split("\n")[1:]


if __name__ == "__main__":
    SNAPSHOT.write_text(surface(), encoding="utf-8")
