"""Values in the text of a job request: YAML, of which everything stays as it is written that other readers change."""

import re
from collections import Counter
from collections.abc import Hashable
from typing import Any

import yaml

from project_fanout.forks.problems import shown


class NotAsWrittenError(ValueError):
    """A text cannot be read, or would be read as something else than it says."""


def read_value(text: str) -> Any:
    """Return what *text* says: text, number, true, false, null, date, or a list or map of them.

    A number is one only if it is written as Python writes it: `NO`, `0123`, `12:30`, `1_000`, `1.10` and `1e3` are
    text. YAML 1.1 makes False, 83, 750, 1000 and 1.1 of the first five.

    Raises:
        NotAsWrittenError: it cannot be read, names a key twice, or has what has a meaning in YAML alone.
    """
    try:
        for event in yaml.parse(text, _AsWritten):
            if (
                isinstance(event, yaml.AliasEvent)
                or getattr(event, "anchor", None)
                or getattr(event, "tag", None)
            ):
                at = event.start_mark.index if event.start_mark else 0
                raise yaml.YAMLError(f"{text[at]!r} begins something else than text")
        return yaml.load(text, _AsWritten)  # noqa: S506  # a safe loader
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        reason = getattr(error, "problem", None) or getattr(error, "reason", None) or error
        mark = getattr(error, "problem_mark", None)
        place = f" at {shown(text[mark.index :][:40])}" if mark and mark.index < len(text) else ""
        raise NotAsWrittenError(
            f"{shown(text)} cannot be read: {reason}{place}; write text with special characters in quotes"
        ) from None


class _AsWritten(yaml.SafeLoader):
    """A safe loader that takes for text what is no JSON."""

    # Dates have a type of their own, and their text says the same: `2026-01-02`.
    yaml_implicit_resolvers: dict[str, Any] = {  # noqa: RUF012  # as in its base
        first: [found for found in resolvers if found[0] == "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_scalar(self, node: Any) -> Any:
        """Refuse what stands for nothing, as after `a:`, unless nothing else stands there."""
        if node.value == "" and node.style is None:
            raise yaml.YAMLError("a value or a comma is missing")
        return super().construct_scalar(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT002
        """Refuse a key that is given twice: YAML takes the last."""
        names = Counter(str(key.value) for key, _ in node.value)
        if twice := [name for name, count in names.items() if count > 1]:
            raise yaml.YAMLError(f"{twice[0]!r} is given twice")
        return super().construct_mapping(node, deep)


def _number(loader: _AsWritten, node: Any) -> Any:
    text = loader.construct_scalar(node)
    number = float(text) if "." in text else int(text)
    return number if str(number) == text else text


_AsWritten.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"(true|false)\Z"), ["t", "f"])
_AsWritten.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"null\Z"), ["n"])
_AsWritten.add_implicit_resolver("!number", re.compile(r"-?\d{1,400}(\.\d{1,400})?\Z"), list("-0123456789"))
_AsWritten.add_constructor("!number", _number)
