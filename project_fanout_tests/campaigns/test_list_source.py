"""What is read of a CSV file, compared with Python's csv module."""

import csv
import io
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import dagster as dg
import duckdb
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from project_fanout.campaigns import list_source
from project_fanout.campaigns.assets import (
    ReportConfig,
    campaign_delivery,
    campaign_report,
    job_request,
    recipients,
)
from project_fanout.campaigns.errors import CampaignError
from project_fanout.campaigns.list_source import opened_source
from project_fanout.campaigns.outcomes import COLUMNS
from project_fanout.campaigns.recipients import RecipientList, build_list, read_rows
from project_fanout.engine.errors import ToleranceExceededError
from project_fanout.orchestration import UnitPoolResource
from project_fanout_tests.nightly import examples

BOM = b"\xef\xbb\xbf"
#: None: a line ends in another way than the one before.
LINE_ENDS = ("\r\n", "\n", "\r", None)
BREAKS = ("", "\n", "\r\n", "\r")
DATABASE = duckdb.connect(config={"threads": "1"})


def loaded(content: bytes, folder: Path) -> tuple[list[str], list[tuple[str | None, ...]]]:
    """Return the names of the columns and the rows that a list of *content* is made of."""
    file = folder / "list.csv"
    file.write_bytes(content)
    with opened_source(file, folder) as source:
        # Building a whole list takes ten times as long.
        cursor = DATABASE.execute(source.query)
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
    assert source.rows == len(rows)
    assert list(folder.iterdir()) == [file]
    return names, rows


def by_csv_module(content: bytes, delimiter: str) -> tuple[list[str], list[tuple[str | None, ...]]]:
    """Return the same as Python's csv module reads it: an empty cell is None, and a blank line no row."""
    text = io.StringIO(content.decode("utf-8-sig"), newline="")
    names, *rows = csv.reader(text, delimiter=delimiter)
    named = [name.strip() or f"column{place}" for place, name in enumerate(names, start=1)]
    return named, [tuple(cell or None for cell in row) for row in rows if row]


def written(rows: Sequence[Sequence[str]], *, delimiter: str, line_end: str | None, quoting: Any) -> str:
    """Return *rows* as CSV text, a blank line after the third."""
    ends = itertools.cycle(["\r\n", "\n", "\r", "\n"] if line_end is None else [line_end])
    lines = []
    for number, (row, end) in enumerate(zip(rows, ends, strict=False)):
        line = io.StringIO()
        csv.writer(line, delimiter=delimiter, quoting=quoting, lineterminator="").writerow(row)
        lines.append(line.getvalue() + end + (end if number == 3 else ""))
    return "".join(lines)


@pytest.mark.parametrize("line_end", LINE_ENDS)
def test_a_list_is_what_pythons_csv_module_reads(line_end: str | None, tmp_path: Path) -> None:
    """Line ends, quotes, line breaks in header and cells, byte order mark, delimiter: each way gives the same rows."""
    ways = itertools.product(
        BREAKS, BREAKS, (b"", BOM), ",;\t|", (csv.QUOTE_MINIMAL, csv.QUOTE_ALL), (False, True)
    )
    for in_header, in_cell, bom, delimiter, quoting, trailing_delimiter in ways:
        if line_end in (None, "\r") and (bom or trailing_delimiter):
            continue  # Each way once is enough.
        rows = [
            ["email", f"first{in_header}name{delimiter} 'x'"],
            ["a@post.example", f'Ada{in_cell}{delimiter} "A" Berg'],
            ["b@post.example", ""],
            ["c@post.example", f'{in_cell}Zoë 5" '],
            ["d@post.example", "NULL"],
        ]
        if trailing_delimiter:
            rows = [[*row, ""] for row in rows]
        content = bom + written(rows, delimiter=delimiter, line_end=line_end, quoting=quoting).encode()
        for whole in (content, content.rstrip(b"\r\n")):
            assert loaded(whole, tmp_path) == by_csv_module(whole, delimiter), whole


PIECES = st.sampled_from(
    [
        "a@post.example",
        "Ada",
        ",",
        ",",
        '"',
        '"',
        '""',
        "\r\n",
        "\r\n",
        "\n",
        "\r",
        " ",
        "ö",
        "\0",
        "\u2028",
        "'",
    ]
)


@settings(max_examples=examples(100, at_night=3_000), deadline=None)
@given(
    header=st.lists(PIECES, max_size=4),
    pieces=st.lists(PIECES, max_size=14),
    end=st.sampled_from(["\n", "\r\n"]),
)
def test_a_damaged_list_is_read_as_pythons_csv_module_does_or_refused(
    header: list[str], pieces: list[str], end: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Quotes, line ends and delimiters anywhere: no row is lost, added or changed without a refusal."""
    content = f"email,{''.join(header)}{end}{''.join(pieces)}".encode()
    folder = tmp_path_factory.getbasetemp() / "damaged"
    folder.mkdir(exist_ok=True)
    try:
        found = loaded(content, folder)
    except CampaignError:
        return
    assert found == by_csv_module(content, ",")


def test_a_break_in_a_column_name_loses_nobody(tmp_path: Path) -> None:
    """What Excel writes for Alt+Enter in a heading, CRLF rows and a line feed in quotes, gives all 5,000 rows."""
    rows = "".join(f"a{row}@post.example,A{row}\r\n" for row in range(5000))
    (tmp_path / "list.csv").write_text(f'email,"first\nname"\r\n{rows}', newline="")

    found = build_list(tmp_path, str(tmp_path / "list.csv"))

    assert found.rows == 5000
    assert [each.email for each in read_rows(found.path, found.all)] == [
        f"a{row}@post.example" for row in range(5000)
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b'email,name\na@x.example,"Ada\nb@x.example,Bob\n',
            "begins in line 2: it opens a quote that is never closed",
        ),
        (b'email,"name\na@x.example,Ada\n', "begins in line 1: it opens a quote that is never closed"),
        (b'email,name\na@x.example,Ada\nb@x.example,"' + b"x\n" * 1_100_000, "line 3: it opens a quote"),
        (b'email,name\na@x.example,"Ada" B\n', "begins in line 2: it has text after a closing quote"),
        (
            b'email, name\na@x.example, "Ada"\n',
            "begins with a space before a quote: ' \"Ada\"'. Remove the space",
        ),
        (
            b"email,name\n" + b"a@x.example,Ada\n" * 300 + b"b@x.example,\0\n",
            "a NUL character.*Save it as UTF-8",
        ),
        ("email,name\na@x.example,Ada\n".encode("utf-16"), "it is not UTF-8. Save it as UTF-8"),
        ("email,name\na@x.example,Ada\n".encode("utf-16-le"), "a NUL character"),
        (b"email,name\n" + b"a@x.example,Ada\n" * 100_000 + b"b@x.example,\xff\n", "it is not UTF-8"),
        (b"email,name\na@x.example\n", "Line: 2 .*Columns: 2 Found: 1"),
        (b"email,name\na@x.example,Ada,\n", "Line: 2 .*Columns: 2 Found: 3"),
        (b"email,name\r\na@x.example,Ada\r\n  \r\nb@x.example,Bob\r\n", "Line: 3 .*Columns: 2 Found: 1"),
        (b"", "has an empty first line"),
        (b"\r\nemail\r\n", "has an empty first line"),
    ],
)
def test_a_list_that_cannot_be_read_as_it_stands(content: bytes, message: str, tmp_path: Path) -> None:
    """What would be guessed at is refused with its place and what to do, and nothing is left behind."""
    (tmp_path / "list.csv").write_bytes(content)

    with pytest.raises(CampaignError, match=message):
        build_list(tmp_path / "lists", str(tmp_path / "list.csv"))
    assert list((tmp_path / "lists").iterdir()) == []


def test_a_list_that_is_loaded_in_part_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the database has other rows than the file, the list is refused with both numbers."""
    copied = list_source.plain_copy
    monkeypatch.setattr(list_source, "plain_copy", lambda *paths: replace(copied(*paths), rows=1236))
    (tmp_path / "list.csv").write_text("email\na@post.example\n")

    with pytest.raises(CampaignError, match=r"list\.csv has 1,236 rows, but the database loaded 1,"):
        build_list(tmp_path / "lists", str(tmp_path / "list.csv"))
    assert list((tmp_path / "lists").iterdir()) == []


def parquet_of_nobody(path: Path) -> None:
    with duckdb.connect() as database:
        database.execute(f"copy (select 'a' as email where false) to '{path}' (format parquet)")


EMPTY_LISTS = {
    "header alone": b"email,name\r\n",
    "header without its line end": b"email,name",
    "blank lines": b'email,"first\nname"\r\n\r\n\r\n',
    "parquet": None,
    "generated": None,
}


@pytest.mark.parametrize("kind", EMPTY_LISTS)
def test_a_list_of_nobody_is_refused(kind: str, tmp_path: Path) -> None:
    """A list without recipients is refused, also one that an earlier run has allowed, and nothing is left of it."""
    source = tmp_path / ("list.parquet" if kind == "parquet" else "list.csv")
    (tmp_path / "list.csv").write_bytes(EMPTY_LISTS[kind] or b"")
    parquet_of_nobody(tmp_path / "list.parquet")
    arguments = (tmp_path / "lists", None if kind == "generated" else str(source), 0)

    message = "the campaign would go to nobody. If it may, set allow_empty to true"
    with pytest.raises(CampaignError, match=message):
        build_list(*arguments)
    assert list((tmp_path / "lists").iterdir()) == []
    assert build_list(*arguments, allow_empty=True).rows == 0
    with pytest.raises(CampaignError, match=message):
        build_list(*arguments)


def test_a_run_may_go_to_nobody_if_it_says_so(tmp_path: Path) -> None:
    """With allow_empty a campaign to nobody succeeds, and its report says that nobody has been sent to."""
    config: dict[str, Any] = {"output_dir": str(tmp_path), "generated": 0}

    def run() -> dg.ExecuteInProcessResult:
        return dg.materialize_to_memory(
            [recipients, campaign_delivery, campaign_report],
            run_config={
                "ops": {
                    "recipients": {"config": config},
                    "campaign_delivery": {"config": {"params": {"output_dir": str(tmp_path)}}},
                    "campaign_report": {"config": {"output_dir": str(tmp_path)}},
                }
            },
            resources={"unit_pool": UnitPoolResource(kind="inline")},
        )

    with pytest.raises(CampaignError, match="generated is 0, so the campaign would go to nobody"):
        run()
    config["allow_empty"] = True
    *_, got_it = run().get_asset_check_evaluations()
    assert (got_it.passed, got_it.description) == (
        True,
        "Nobody has been sent to: the list has 0 recipients.",
    )


def test_the_report_on_no_outcomes_is_no_success(tmp_path: Path) -> None:
    """A list of five of whom nobody has an outcome is not reported as sent to everybody."""
    _, _, got_it = campaign_report(
        ReportConfig(output_dir=str(tmp_path)),
        RecipientList("list.duckdb", 5, "generated"),
        pd.DataFrame(columns=COLUMNS).astype({"sent_at": "datetime64[ms, UTC]"}),
    )
    assert (got_it.passed, got_it.description) == (
        False,
        "Nobody has been sent to: the list has 5 recipients.",
    )


def test_a_list_without_a_usable_address_is_no_success(tmp_path: Path) -> None:
    """Where each of five addresses is unusable the check is an error, and says that nobody has been sent to."""
    deliveries = [[row, None, None, "refused", "no address", None, None, "page_1"] for row in range(1, 6)]
    _, accounted_for, got_it = campaign_report(
        ReportConfig(output_dir=str(tmp_path)),
        RecipientList("list.duckdb", 5, "generated"),
        pd.DataFrame(deliveries, columns=COLUMNS).astype({"sent_at": "datetime64[ms, UTC]"}),
    )
    assert accounted_for.passed
    assert (got_it.passed, got_it.severity) == (False, dg.AssetCheckSeverity.ERROR)
    assert got_it.description == "Nobody of 5 recipients has been sent to."


def test_a_run_whose_list_lacks_a_column_prepares_nobody(tmp_path: Path) -> None:
    """A list without the city that the letter names fails the run before a page of it is prepared."""
    (tmp_path / "list.csv").write_text("email,name\na@post.example,Ada\n")
    folder = {"output_dir": str(tmp_path)}
    with pytest.raises(
        CampaignError, match=r"message\.text_template uses city; message\.html_template uses city, w"
    ):
        dg.materialize_to_memory(
            [recipients, campaign_delivery],
            run_config={
                "ops": {
                    "recipients": {"config": {"source": str(tmp_path / "list.csv"), **folder}},
                    "campaign_delivery": {"config": {"params": folder}},
                }
            },
            resources={"unit_pool": UnitPoolResource(kind="inline")},
        )
    assert not (tmp_path / "spool").exists()


def test_a_job_request_for_nobody_says_so(tmp_path: Path) -> None:
    """A target list that loads empty fails the request's tasks unless its payload allows it."""
    (tmp_path / "42.csv").write_text("email,name\r\n", newline="")
    payload = {
        "campaign": 99,
        "target_list": 42,
        "source": str(tmp_path / "{target_list}.csv"),
        "output_dir": str(tmp_path),
    }

    def run() -> pd.DataFrame:
        config = {
            "action_chain": ["prepare_recipients", "send_emails"],
            "payload": payload,
            "fanout": "range(1, 2)",
        }
        result = dg.materialize_to_memory(
            [job_request],
            run_config={"ops": {"job_request": {"config": config}}},
            resources={"unit_pool": UnitPoolResource(kind="inline")},
        )
        frame: pd.DataFrame = result.output_for_node("job_request")
        return frame

    with pytest.raises(
        ToleranceExceededError, match=r"42\.csv has no rows, so the campaign would go to nobody"
    ):
        run()
    payload["allow_empty"] = True
    assert run().empty
