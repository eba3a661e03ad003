"""The tables of settings in README and docs are those of the declarations."""

import re

import pytest

from project_fanout_tests.pages import page
from project_fanout_tests.settings_tables import COMMAND, PAGES, TABLES, renewed


@pytest.mark.parametrize("name", PAGES)
def test_the_tables_are_current(name: str) -> None:
    """Each has a row for each setting, with its default, what it accepts and what it does."""
    text = page(name)
    assert text == renewed(text), f"a table of settings in {name} is not what the code says: run `{COMMAND}`"


def test_every_table_is_on_a_page() -> None:
    """The policy, the resources and the params of the examples are documented, each in one place."""
    shown = [found for name in PAGES for found in re.findall(r"<!-- settings: (\S+) -->", page(name))]
    assert sorted(shown) == sorted(TABLES)


def test_a_stale_table_is_noticed() -> None:
    """A row that is missing, and one that says something else, make the page another one."""
    text = page("docs/code-location.md")
    row = re.search(r"^\| `max_attempts` .*\n", text, re.MULTILINE)
    assert row
    assert renewed(text.replace(row[0], "")) == text
    assert renewed(text.replace(row[0], row[0].replace("100", "99"))) == text
