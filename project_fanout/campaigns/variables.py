"""The variables of templates: which a list has to have as columns, and what stands for an empty cell."""

from typing import Any

import jinja2
import jinja2.meta
from jinja2 import nodes

#: What templates know beside the columns of the list, whatever the list has.
BUILT_IN = ("campaign", "token")


class EmptyCell(jinja2.Undefined):
    """A cell without text: a condition may ask for it, and nothing can be made of it.

    `{% if name %}` and `{{ name or "friend" }}` are written for those who have none; `{{ name }}` alone is not.
    """

    __slots__ = ()

    __str__ = __iter__ = jinja2.Undefined._fail_with_undefined_error

    def __contains__(self, item: object) -> bool:
        return False

    def __eq__(self, other: object) -> bool:
        return other == "" or isinstance(other, EmptyCell)

    def __ne__(self, other: object) -> bool:
        return not self == other

    def __hash__(self) -> int:
        return hash("")


def needed_variables(environment: jinja2.Environment, source: str) -> set[str]:
    """Return the variables of the template *source* that it does not itself expect to be missing.

    It expects that of those that it gives a `default` or asks whether they are `defined`.
    """
    tree = environment.parse(source)
    optional = {
        asked.node.name
        for asked in tree.find_all((nodes.Filter, nodes.Test))
        if asked.name in ("default", "d", "defined", "undefined") and isinstance(asked.node, nodes.Name)
    }
    known: dict[str, Any] = environment.globals
    return jinja2.meta.find_undeclared_variables(tree) - optional - known.keys()
