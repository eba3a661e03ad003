"""The pages of the documentation, whose examples are run as a user runs them."""

import re
from pathlib import Path
from typing import Any

import dagster as dg

from project_fanout_tests.processes import ROOT


def page(name: str) -> str:
    """Return the text of a page, by its path in the repository."""
    return (ROOT / name).read_text()


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a page that are marked as *language*."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def params_of(job: dg.JobDefinition, asset: str) -> list[str]:
    """Return the names of the params that *asset* takes in the run config of *job*: what a page has to name."""
    graph = job.graph.node_named(asset).definition
    assert isinstance(graph, dg.GraphDefinition)
    assert graph.config_mapping is not None
    settings: Any = graph.config_mapping.config_schema.config_type
    return list(settings.fields["params"].config_type.fields)


def written(text: str, folder: Path) -> list[str]:
    """Write each Python block of a page to the file that its first line names; return the names."""
    names = []
    for block in blocks(text, "python"):
        name = re.match(r"# (\w+\.py)\n", block)
        assert name, f"the block says in its first line which file it is: {block[:80]!r}"
        (folder / name[1]).write_text(block)
        names.append(name[1])
    return names
