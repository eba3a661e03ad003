"""README says what is so: its code runs, and nothing that a user can set or run is missing from it."""

import inspect
import pickle
import re
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.storage import db_io_manager

from project_fanout import engine, orchestration
from project_fanout.definitions import defs
from project_fanout.orchestration import build_fanout_asset
from project_fanout_tests.pages import blocks, page, params_of, written
from project_fanout_tests.processes import ROOT, run_pytest, run_python

README = page("README.md")
#: README, and the pages that go on from it.
GUIDE = README + "".join(
    page(f"docs/{name}.md") for name in ("code-location", "web-ui", "images", "forks", "campaigns", "resume")
)
TROUBLESHOOTING = page("docs/troubleshooting.md")
EXAMPLES = README + page("docs/code-location.md")

# What the example of a warehouse promises, and what its reader has seen before.
WAREHOUSE_TEST = """
import dagster as dg
import duckdb
import pytest
import warehouse
from project_fanout.orchestration import build_fanout_asset


def test_the_table_is_in_the_warehouse(tmp_path, monkeypatch):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "letter.txt").write_text("Dear reader\\fyours truly, me")
    monkeypatch.chdir(tmp_path)
    assert warehouse.defs.resolve_implicit_global_asset_job_def().execute_in_process().success
    with duckdb.connect("words.duckdb") as database:
        rows = database.sql("select record_key, words from public.word_counts order by words").fetchall()
    assert rows == [("letter.txt", 2), ("letter.txt", 3)]


def test_without_another_io_manager_for_the_steps():
    asset = build_fanout_asset(
        "word_counts", records=warehouse.read_documents, stages=[warehouse.count_words]
    )
    with pytest.raises(Exception, match="does not have a handler for type"):
        dg.materialize([asset], resources={"io_manager": warehouse.defs.resources["io_manager"]})
"""


def named(text: str) -> None:
    """Assert that README or a page names *text* as code."""
    assert re.search(rf"`[^`\n]*\b{re.escape(text)}\b[^`\n]*`", GUIDE), (
        f"neither README nor docs name `{text}`"
    )


def test_the_python_examples_run(tmp_path: Path) -> None:
    """Each Python block is a file with the name in its first line; together they are a passing test."""
    files = written(EXAMPLES, tmp_path)
    assert {"documents.py", "assets.py", "warehouse.py"} < set(files)

    run = run_pytest(*(name for name in files if "test" in name), folder=tmp_path)

    assert run.returncode == 0, run.stdout + run.stderr
    assert re.search(r"\b[1-9]\d* passed", run.stdout)


def test_the_example_of_a_warehouse_runs(tmp_path: Path) -> None:
    """The table is in DuckDB, what travels between the steps is in files, and without that the error is the page's."""
    pytest.importorskip("dagster_duckdb_pandas", reason="pip install 'project_fanout[images]'")
    written(EXAMPLES, tmp_path)
    (tmp_path / "test_warehouse.py").write_text(WAREHOUSE_TEST)

    run = run_pytest("test_warehouse.py", folder=tmp_path)

    assert run.returncode == 0, run.stdout + run.stderr


def test_the_code_location_runs(tmp_path: Path) -> None:
    """The example of a whole code location materialises its asset, by its own executor, with the params it shows."""
    written(EXAMPLES, tmp_path)
    arguments = ["-m", "dagster", "job", "execute", "-m", "definitions", "-j", "revenue_job"]
    (tmp_path / "config.yaml").write_text("ops: {revenue: {config: {params: {shops: 2, vat: '0.1'}}}}")
    (tmp_path / "wrong.yaml").write_text("ops: {revenue: {config: {params: {vat: 2}}}}")

    run = run_python(*arguments, "-c", "config.yaml", home=tmp_path, folder=tmp_path)

    assert run.returncode == 0, run.stderr
    assert "revenue.record.process_record[shop_1_" in run.stdout + run.stderr
    assert "threads (pid" in run.stdout + run.stderr
    found = pickle.loads((tmp_path / "storage" / "revenue").read_bytes())
    assert found == {f"shop {n}": sum(round(550 * i) + 330 for i in range(10 + n)) for n in range(2)}
    refused = run_python(*arguments, "-c", "wrong.yaml", home=tmp_path, folder=tmp_path)
    assert refused.returncode != 0
    assert "vat is 2, accepted: float, 0 to 1" in refused.stdout + refused.stderr


def test_every_argument_of_build_fanout_asset_is_named() -> None:
    """What a fan-out can be given is on the page."""
    for name in inspect.signature(build_fanout_asset).parameters:
        named(name)


def test_the_names_of_the_page_can_be_imported() -> None:
    """What a code location of one's own needs comes from one module, what its stages need from another."""
    for name in (
        "FanoutPolicy",
        "LedgerResource",
        "UnitPoolResource",
        "build_fanout_asset",
        "fanout_executor",
    ):
        named(name)
        assert name in orchestration.__all__
    assert {"Fanout", "Record", "Unit"} <= set(engine.__all__)


@pytest.mark.parametrize("block", blocks(EXAMPLES, "yaml"))
def test_the_run_config_is_accepted(block: str) -> None:
    """The run config shown is one that images_job takes."""
    assert dg.validate_run_config(defs.resolve_job_def("images_job"), yaml.safe_load(block))


def test_the_make_targets_exist() -> None:
    """Each `make` command shown is a target of the Makefile."""
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"\bmake (?:[A-Z]+=\S+ )*([a-z]+)", "\n".join(blocks(GUIDE, "bash")))
    assert {"demo", "test"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"


def test_every_asset_job_and_schedule_is_named() -> None:
    """README and docs name each asset, job, schedule and check that the code location holds."""
    repository = defs.get_repository_def()
    for key in repository.asset_graph.get_all_asset_keys():
        named(key.to_user_string())
    for job in repository.get_all_jobs():
        if not job.name.startswith("__"):
            named(job.name)
    for schedule in repository.schedule_defs:
        named(schedule.name)
    for check in repository.asset_graph.asset_check_keys:
        named(check.name)


def test_every_param_is_named() -> None:
    """The docs name each param that web_renditions takes in its run config."""
    params = params_of(defs.resolve_job_def("images_job"), "web_renditions")
    assert params
    for name in params:
        named(name)


def test_the_troubleshooting_table_quotes_real_errors() -> None:
    """Each error text in the table is one that the project or Dagster prints, and the table is in their order."""
    table = TROUBLESHOOTING
    quoted = re.findall(r"^\| `([^`]+)` \|", table, re.MULTILINE)
    assert quoted == sorted(quoted, key=str.lower)
    dagster_io_manager = Path(db_io_manager.__file__)
    sources = [*(ROOT / "project_fanout").rglob("*.py"), *(ROOT / ".ci").iterdir(), dagster_io_manager]
    printed = "\n".join(path.read_text() for path in sources)
    assert [text for text in quoted if text not in printed] == []
