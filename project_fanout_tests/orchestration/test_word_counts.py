"""The example of the documentation works as it is written there."""

from pathlib import Path
from typing import Any

import dagster as dg
import pandas as pd
import pytest

from project_fanout.orchestration import UnitPoolResource, build_fanout_asset
from project_fanout_tests.orchestration.documents import count_words, read_documents

word_counts = build_fanout_asset("word_counts", records=read_documents, stages=[count_words])

COLUMNS = ("record_key", "unit_key", "stage", "status", "attempts", "seconds", "error")

TEXTS = {
    "Отчёт за май.txt": "Все письма\fпришли в срок",
    "a.b-c d.txt": "one two three\f\f four",
    "class.txt": "x",
    "not text.md": "never read",
}


@pytest.fixture(autouse=True)
def docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder whose `docs` holds a few text files."""
    (tmp_path / "docs").mkdir()
    for name, text in TEXTS.items():
        (tmp_path / "docs" / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "docs"


def counted(folder: Path, min_length: int = 1) -> list[tuple[str, str, int]]:
    """Count with loops."""
    return [
        (path.name, str(number), len([word for word in page.split() if len(word) >= min_length]))
        for path in sorted(folder.glob("*.txt"))
        for number, page in enumerate(path.read_text().split("\f"))
    ]


def rows(frame: pd.DataFrame) -> list[tuple[Any, ...]]:
    """Return the rows that the loops give too."""
    assert list(frame.columns) == [*COLUMNS, "words"]
    assert set(frame["stage"]) == {"count_words"}
    assert set(frame["status"]) == {"succeeded"}
    return list(frame[["record_key", "unit_key", "words"]].itertuples(index=False, name=None))


def test_it_needs_no_resources_and_no_config(docs: Path) -> None:
    """`dg.materialize_to_memory([word_counts])` is enough, and units run in worker processes."""
    result = dg.materialize_to_memory([word_counts])
    assert rows(result.output_for_node("word_counts")) == counted(docs)
    (event,) = result.asset_materializations_for_node("word_counts")
    assert event.metadata["units"].value == 6


def test_it_takes_a_pool_and_params(docs: Path) -> None:
    """An inline pool, and the params of both functions, one of them as text."""
    result = dg.materialize_to_memory(
        [word_counts],
        resources={"unit_pool": UnitPoolResource(kind="inline")},
        run_config={"ops": {"word_counts": {"config": {"params": {"min_length": "3", "folder": str(docs)}}}}},
    )
    assert rows(result.output_for_node("word_counts")) == counted(docs, 3)


@pytest.mark.parametrize(
    "resources", [{}, {"unit_pool": UnitPoolResource(max_workers=1)}], ids=["without", "with a pool"]
)
def test_it_works_in_definitions(docs: Path, resources: dict[str, Any]) -> None:
    """With a pool of its own and with the one that Definitions give."""
    defs = dg.Definitions(assets=[word_counts], resources=resources)
    dg.Definitions.validate_loadable(defs)
    result = defs.resolve_implicit_global_asset_job_def().execute_in_process()
    assert rows(result.output_for_node("word_counts")) == counted(docs)


def test_there_is_a_step_per_record_that_can_be_read(docs: Path) -> None:
    """And each says which record it is."""
    result = dg.materialize_to_memory([word_counts], resources={"unit_pool": UnitPoolResource(kind="inline")})
    steps = [event.step_key for event in result.get_step_success_events()]
    assert len([step for step in steps if step.startswith("word_counts.record.process_record[")]) == 3
    assert any("[a_b_c_d_txt_" in step for step in steps)
    outputs = [
        event.step_output_data.metadata["record_key"].value
        for event in result.filter_events(lambda event: event.is_successful_output)
        if event.step_output_data.mapping_key and event.step_key == "word_counts.trigger_records"
    ]
    assert outputs == ["a.b-c d.txt", "class.txt", "Отчёт за май.txt"]


def test_a_folder_that_is_not_there_is_an_empty_table(docs: Path) -> None:
    """With the same columns."""
    docs.rename(docs.with_name("elsewhere"))
    frame = dg.materialize_to_memory([word_counts]).output_for_node("word_counts")
    assert len(frame) == 0
    assert list(frame.columns) == [
        "record_key",
        "unit_key",
        "stage",
        "status",
        "attempts",
        "seconds",
        "error",
    ]
