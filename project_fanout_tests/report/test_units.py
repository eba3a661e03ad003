"""What the report of a real run says of its units."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from project_fanout.engine.ledger import Ledger
from project_fanout.engine.ledger.runs import noted_runs
from project_fanout.orchestration.unit_logs import log_line, unit_logs
from project_fanout.report.units import run_report
from project_fanout_tests.command.runs import command, make
from project_fanout_tests.instances import local_instance


def report_of(home: Path, run: str) -> dict[str, Any]:
    """Return the report of a run of one asset, with what its units have logged."""
    with Ledger(home / "fanout_ledger.db") as ledger, local_instance(home) as instance:
        (note,) = ledger.read(lambda connection: noted_runs(connection, run))
        return run_report(ledger, note, unit_logs(instance, run))


def row_of(report: dict[str, Any], record: str, unit: str) -> int:
    """Return the row of a unit."""
    units = report["units"]
    keys = zip(units["record"], units["key"], strict=True)
    return [(report["records"][each], key) for each, key in keys].index((record, unit))


def test_a_report_tells_of_each_unit(tmp_path: Path) -> None:
    """Times and status, the input and result, what it has logged, and each attempt of one that failed."""
    run = make(tmp_path, bad="page 1", max_failed_ratio=1.0)
    report = report_of(tmp_path, run)
    assert (report["asset"], report["run"], report["is_over"], report["found"]) == ("books", run, True, 12)
    assert report["stages"] == ["read_page"]
    assert all(len(column) == 12 for column in report["units"].values())
    assert all(start >= 0 for start in report["units"]["start"])
    fine = report["details"][str(row_of(report, "Book 2", "page 3"))]
    assert fine["input"] == '{"page":3}'
    assert '"words":103' in fine["result"]
    assert fine["log"] == ["reader: reading page 3"]
    row = row_of(report, "Book 0", "page 1")
    assert report["statuses"][report["units"]["status"][row]] == "failed"
    assert report["errors"][report["units"]["error"][row]] == "ValueError: HTTP 429 for page 1"
    first, last = report["details"][str(row)]["attempts"]
    assert first["error"] == "ValueError: HTTP 429 for page 1"
    assert "Traceback" in last["error"]
    seconds = report["units"]["seconds"][row]
    assert first["seconds"] + last["seconds"] == pytest.approx(seconds, abs=1e-4)


def test_a_report_names_the_runs_whose_results_were_reused(tmp_path: Path) -> None:
    """Of the lineage, and of others; their units are in no lane of this run's timeline."""
    first = make(tmp_path, bad="page 1")
    again = make(tmp_path, again=first)
    report = report_of(tmp_path, again)
    assert report["runs"] == [again, first] or set(report["runs"]) == {again, first}
    assert report["runs"][0] == again
    assert report["units"]["run"].count(0) == 3
    assert report["units"]["start"].count(None) == 9
    always = report_of(tmp_path, make(tmp_path, reuse="always"))
    assert len(always["units"]["key"]) == 12
    assert 0 not in always["units"]["run"]
    assert set(always["runs"][1:]) == {first, again}


def test_a_stage_that_fans_out_says_to_what(tmp_path: Path) -> None:
    """Its units are in the report as those of the last stage are."""
    report = report_of(tmp_path, make(tmp_path, "halves"))
    assert report["stages"] == ["split", "read_page"]
    assert len(report["units"]["key"]) == 12 + 24
    detail = report["details"][str(row_of(report, "Book 0", "page 0"))]
    assert detail["result"] == "2 units for the next stage: page 0 upper, page 0 lower"


def test_the_command_writes_a_page_for_each_asset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into the folder, or the file, that it is told; it says where."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("FANOUT_LEDGER_URL", raising=False)
    run = make(tmp_path)
    (tmp_path / "pages").mkdir()
    for output, path in (("pages", f"pages/books_{run[:8]}.html"), ("one.html", "one.html")):
        written = command("report", run, "--output", str(tmp_path / output), "--no-logs")
        assert written.stdout.strip() == str(tmp_path / path)
        assert "<title>books - " in (tmp_path / path).read_text(encoding="utf-8")
    refused = command("report", run, "--asset", "nope")
    assert refused.exit_code == 1
    assert "does not make 'nope', accepted: books." in refused.stderr


@pytest.mark.parametrize(
    ("record", "unit"),
    [("a", "b"), ("it's", 'say "x"'), ("] [", "\\"), ("нет\n", "'\""), ("a', unit 'b", "c'] d")],
)
def test_a_line_of_the_log_is_its_units_whatever_the_keys_hold(
    tmp_path: Path, record: str, unit: str
) -> None:
    """Read back from the run's log as it was written there."""

    @dg.op
    def says(context: dg.OpExecutionContext) -> None:
        context.log.info("%s", log_line(record, unit, "reader", "[record 'x', unit 'y'] said"))
        context.log.info("[record is no such line")

    @dg.job
    def job() -> None:
        says()

    with local_instance(tmp_path) as instance:
        run = job.execute_in_process(instance=instance).run_id
        assert unit_logs(instance, run) == {(record, unit): ["reader: [record 'x', unit 'y'] said"]}
