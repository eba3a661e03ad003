"""docs/runs.md says what is so: what it names of an asset's page is there, and its commands run."""

import re
import shlex
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner

from project_fanout.command.main import fanout
from project_fanout_tests.command.runs import make
from project_fanout_tests.instances import local_instance
from project_fanout_tests.pages import blocks, page

PAGE = page("docs/runs.md")


def test_every_key_of_the_assets_page_is_explained(tmp_path: Path) -> None:
    """None that a run has is missing, and none is named that no run has."""
    make(tmp_path, "halves", bad="page 1 upper", max_failed_ratio=1.0, max_attempts=2, retry_delay_s=0.01)
    with local_instance(tmp_path) as instance:
        event = instance.get_latest_materialization_event(dg.AssetKey("halves"))
    assert event is not None
    assert event.asset_materialization is not None
    found = set(event.asset_materialization.metadata) - {"path"}  # of the IO manager
    table = PAGE.partition("| key |")[2].partition("\n\n")[0]
    named = {
        key for row in table.splitlines()[2:] for key in re.findall(r"`([a-z_/0-9]+)`", row.split("|")[1])
    }
    assert found <= named
    only_sometimes = {
        "timed_out",
        "crashed",
        "reused",
        "repaired_records",
        "records_without_units",
        "cpu_seconds",
        "waiting_share",
        "peak_mb",
    }
    assert named - found <= only_sometimes


def test_its_commands_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each as it stands, on a run whose failures the last of them chooses."""
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.delenv("FANOUT_LEDGER_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    run = make(tmp_path, bad="page 1")
    keys = {"1f0c": run, "rocket.jpg": "Book 1", "webp-640": "page 1"}
    lines = [line for block in blocks(PAGE, "bash") for line in block.splitlines() if "/fanout " in line]
    plans = [line for line in lines if " plan " in line]
    assert len(plans) == 2
    (tmp_path / "run_config.yaml").write_text("ops: {web_renditions: {config: {policy: {reuse: always}}}}")
    lines = [line for line in lines if line not in plans]
    for line in plans:
        result = CliRunner().invoke(fanout, shlex.split(line)[1:], catch_exceptions=False)
        assert "The upstream asset image_catalog has no value that can be loaded" in result.stderr
    assert {shlex.split(line)[1] for line in lines} == {"status", "report", "explain", "retry"}
    for line in lines:
        arguments = [keys.get(word, word) for word in shlex.split(line, comments=True)[1:]]
        if arguments[0] == "retry":
            arguments.append("--dry-run")
        result = CliRunner().invoke(fanout, arguments, catch_exceptions=False)
        assert result.exit_code == ("--watch" in arguments), (line, result.output)


def test_the_example_of_results_that_name_files_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one of docs/resume.md."""
    (code,) = [text for text in blocks(page("docs/resume.md"), "python") if "reused_if" in text]
    namespace: dict[str, object] = {"__name__": "example"}
    exec(code, namespace)  # noqa: S102  # the documentation's own
    monkeypatch.chdir(tmp_path)
    (tmp_path / "output").mkdir()
    written = namespace["render"](namespace["Unit"]("a", "text"))  # type: ignore[operator]  # they are functions
    assert namespace["is_there"](written)  # type: ignore[operator]  # likewise
    (tmp_path / "output" / "a.txt").unlink()
    with pytest.raises(OSError, match="No such file"):
        namespace["is_there"](written)  # type: ignore[operator]  # likewise
