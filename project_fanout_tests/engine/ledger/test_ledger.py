"""What a ledger promises, on SQLite and on PostgreSQL."""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.fingerprint import unit_fingerprint
from project_fanout.engine.ledger import InWork, Ledger, LedgerEntry, LedgerFilter, LedgerScope
from project_fanout.engine.model import STATUSES, UnitError, UnitOutcome
from project_fanout_tests.engine.ledger.support import SCOPE, make_entry
from project_fanout_tests.processes import run_python, start
from project_fanout_tests.waiting import wait_until

ODD_KEYS = [
    "x" * 400,
    "nul \0 inside",
    "emoji 😀 and Кириллица",
    "'quotes\" \\ and \\u0041 %s :name",
    "class",
    " ",
    "\u2028",
    "\r\n\t",
]


@pytest.fixture
def ledger(ledger_url: str) -> Iterator[Ledger]:
    """An empty ledger on each database."""
    with Ledger(ledger_url) as ledger:
        yield ledger


def test_what_was_put_is_there_for_the_next_run_of_the_lineage(ledger_url: str) -> None:
    """A re-execution finds every success of its lineage, with all that was known of it, and no failure."""
    error = UnitError("ValueError", "bad \udcff byte and \0", "Traceback ...")
    entries = [
        make_entry("plain"),
        make_entry("fans out", encoded=None, fanout=(("child \0", "[1]"), ("ещё", "null"))),
        make_entry("failed", status="failed", encoded=None, error=error, attempts=3),
        make_entry("no result", encoded="null"),
        make_entry("text", encoded='"Zażółć \\u0000 gęślą 😀"'),
        make_entry("other record", record_key="r2"),
        make_entry("next stage", stage_index=1),
    ]
    with Ledger(ledger_url) as ledger:
        for entry in entries:
            ledger.put(entry)
    with Ledger(ledger_url) as ledger:
        found = ledger.successes(SCOPE, 0, ["r1", "r3"])
        assert set(found) == {("r1", key) for key in ("plain", "fans out", "no result", "text")}
        for entry in entries[:2]:
            assert found["r1", entry.outcome.unit_key] == entry
        # Not ASCII in the result is kept as JSON escapes it.
        assert found["r1", "text"].outcome.encoded == (
            r'"Za\u017c\u00f3\u0142\u0107 \u0000 g\u0119\u015bl\u0105 \ud83d\ude00"'
        )
        assert ledger.entries(LedgerFilter(status="failed")) == [entries[2]]
        assert set(ledger.successes(SCOPE, 1, ["r1"])) == {("r1", "next stage")}


def test_a_scope_is_known_from_its_first_outcome(ledger: Ledger) -> None:
    """Whether it was a success or not; the outcomes of other lineages, assets and partitions do not count."""
    assert not ledger.knows(SCOPE)
    ledger.put(make_entry("failed", status="failed", encoded=None))
    ledger.flush()
    assert ledger.knows(SCOPE)
    for change in ({"lineage": "other"}, {"asset": "other"}, {"partition": "other"}):
        assert not ledger.knows(replace(SCOPE, **change))


@pytest.mark.parametrize("key", ODD_KEYS)
def test_any_text_is_a_key(ledger: Ledger, key: str) -> None:
    """Lineages, assets, partitions, records and units may be called anything."""
    scope = LedgerScope(key, key, key)
    entry = make_entry(key, scope=scope, record_key=key, stage=key, run_id=key, code_version=key)
    ledger.put(entry)
    ledger.flush()
    assert ledger.successes(scope, 0, [key]) == {(key, key): entry}
    assert ledger.entries(LedgerFilter(lineage=key, asset=key, partition=key, record_key=key)) == [entry]
    assert [each.scope for each in ledger.scopes()] == [scope]


texts = st.text(min_size=1, max_size=30) | st.sampled_from(ODD_KEYS)
json_texts = st.text(max_size=20).map(lambda text: json.dumps({"text": text}))
outcomes = st.builds(
    UnitOutcome,
    record_key=texts,
    stage=texts,
    stage_index=st.integers(0, 30),
    unit_key=texts,
    status=st.sampled_from(STATUSES),
    attempts=st.integers(0, 100),
    seconds=st.floats(0, 1e6),
    ended_at=st.floats(0, 1e10),
    encoded=st.none() | json_texts,
    fanout=st.none() | st.lists(st.tuples(texts, json_texts), max_size=4).map(tuple),
    error=st.none() | st.builds(UnitError, texts, st.text(), st.text()),
)
entries = st.builds(
    LedgerEntry,
    scope=st.builds(LedgerScope, texts, texts, st.just("") | texts),
    run_id=texts,
    code_version=st.just("") | texts,
    fingerprint=texts.map(lambda text: unit_fingerprint(text, "u", "null", "{}")),
    outcome=outcomes,
)


def place(entry: LedgerEntry) -> tuple[Any, ...]:
    """Return whose outcome it is."""
    outcome = entry.outcome
    return (entry.scope, outcome.stage_index, outcome.record_key, outcome.unit_key)


@given(st.lists(entries, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_entries_come_back_as_they_were(batch: list[LedgerEntry]) -> None:
    """Whatever is put comes back the same; of one unit the last success, else the last."""
    expected: dict[Any, LedgerEntry] = {}
    for entry in batch:
        key = place(entry)
        if entry.outcome.succeeded or key not in expected or not expected[key].outcome.succeeded:
            expected[key] = entry
    with tempfile.TemporaryDirectory() as folder, Ledger(Path(folder) / "ledger.db") as ledger:
        for entry in batch:
            ledger.put(entry)
        ledger.flush()
        found = ledger.entries(LedgerFilter())
    assert len(found) == len(expected)
    for entry in found:
        assert expected[place(entry)] == entry


def test_a_success_is_never_replaced_by_a_failure(ledger_url: str) -> None:
    """A late failure of a unit, from this run or another of its lineage, takes no success away."""
    success, failure = make_entry(), make_entry(status="crashed", encoded=None, run_id="run-2")
    with Ledger(ledger_url) as first, Ledger(ledger_url) as second:
        first.put(make_entry(status="failed", encoded=None))
        first.flush()
        second.put(success)
        second.flush()
        first.put(failure)
        first.flush()
        assert second.entries(LedgerFilter()) == [success]
        newer = make_entry(encoded='{"words":4}')
        first.put(failure)
        first.put(newer)
        first.put(failure)
        first.flush()
        assert second.entries(LedgerFilter()) == [newer]


def test_lineages_assets_and_partitions_do_not_see_each_other(ledger: Ledger) -> None:
    """The same record and unit of another run, asset or partition is another outcome."""
    scopes = [SCOPE, replace(SCOPE, lineage="2"), replace(SCOPE, asset="b"), replace(SCOPE, partition="p")]
    for number, scope in enumerate(scopes):
        ledger.put(make_entry(scope=scope, encoded=str(number)))
    ledger.put(make_entry(scope=scopes[1], status="failed"))
    ledger.flush()
    for number, scope in enumerate(scopes):
        assert ledger.successes(scope, 0, ["r1"])["r1", "u1"].outcome.encoded == str(number)


def test_reuse_finds_the_newest_success_of_any_lineage(ledger: Ledger) -> None:
    """`reuse: always` needs the same payload, params and code version, and takes the newest."""
    fingerprint = unit_fingerprint("stages:count_words", "u", '"a"', "{}")
    same = {"fingerprint": fingerprint}
    old, new, other = (LedgerScope(str(number), "word_counts") for number in range(3))
    ledger.put(make_entry("k1", scope=old, ended_at=1.0, encoded="1", **same))
    ledger.put(make_entry("k2", scope=new, ended_at=2.0, encoded="2", **same))
    ledger.put(make_entry("k3", scope=other, ended_at=3.0, code_version="2", encoded="3", **same))
    ledger.put(make_entry("k4", scope=other, ended_at=4.0, status="failed", encoded=None, **same))
    ledger.put(make_entry("k5", scope=other, ended_at=5.0, stage_index=1, **same))
    ledger.put(make_entry("k6", scope=LedgerScope("3", "another"), ended_at=6.0, **same))
    ledger.put(
        make_entry("k7", scope=LedgerScope("4", "word_counts", "p"), ended_at=7.0, encoded="7", **same)
    )
    ledger.flush()
    missing = unit_fingerprint("stages:count_words", "u", '"b"', "{}")

    def found(**settings: Any) -> dict[str, str | None]:
        entries = ledger.successes_anywhere("word_counts", 0, [fingerprint, missing], **settings)
        return {key: entry.outcome.encoded for key, entry in entries.items()}

    assert found(code_version="1", partition="") == {fingerprint: "2"}
    assert found(code_version="1") == {fingerprint: "7"}
    assert found(code_version="2", partition="") == {fingerprint: "3"}
    assert found(code_version="3") == {}


def test_a_success_is_found_before_it_is_written(ledger: Ledger) -> None:
    """A step that starts over in the same process does not redo what has only just been put."""
    for number in range(50):
        entry = make_entry(f"u{number}")
        ledger.put(entry)
        assert ledger.successes(SCOPE, 0, ["r1"])["r1", f"u{number}"] == entry


def test_many_threads_and_large_fanouts(ledger: Ledger) -> None:
    """Steps in many threads put at once, one of them a fan-out to 10,000 units."""
    children = tuple((f"child {number}", f'{{"n":{number}}}') for number in range(10_000))
    ledger.put(make_entry("large", record_key="large", encoded=None, fanout=children))

    def put(record: int) -> None:
        for number in range(100):
            ledger.put(make_entry(f"u{number}", record_key=f"r{record}"))

    threads = [threading.Thread(target=put, args=[record]) for record in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    ledger.flush()
    found = ledger.successes(SCOPE, 0, ["large", *(f"r{record}" for record in range(8))])
    assert len(found) == 801
    assert found["large", "large"].outcome.fanout == children


def test_two_runs_write_the_same_units_at_once(ledger_url: str) -> None:
    """Two runs of one lineage that overlap both end, and every unit has its outcome once."""
    with Ledger(ledger_url) as first, Ledger(ledger_url) as second:
        for number in range(1_000):
            first.put(make_entry(f"u{number}"))
            second.put(make_entry(f"u{999 - number}", run_id="run-2"))
        first.flush()
        second.flush()
        assert len(first.successes(SCOPE, 0, ["r1"])) == 1_000
        assert len(first.entries(LedgerFilter())) == 1_000


PUT_UNTIL_KILLED = """
import sys, time
from project_fanout.engine.ledger import Ledger
from project_fanout_tests.engine.ledger.support import make_entry
ledger = Ledger(sys.argv[1])
number = 0
while True:
    ledger.put(make_entry(f"u{number}"))
    print(number, time.monotonic(), flush=True)
    number += 1
    time.sleep(0.02)
"""


def test_sigkill_loses_at_most_the_last_second(ledger_url: str, tmp_path: Path) -> None:
    """After kill -9 of the run, every outcome that was put more than a second earlier is there."""
    printed = tmp_path / "printed"

    def lines() -> list[list[str]]:
        return [line.split() for line in printed.read_text().rpartition("\n")[0].splitlines()]

    def has_put_for_a_while() -> bool:
        found = lines()
        return bool(found) and float(found[-1][1]) - float(found[0][1]) > 1.6

    with printed.open("w") as output:
        process = start("-c", PUT_UNTIL_KILLED, ledger_url, home=tmp_path, output=output)
    wait_until(has_put_for_a_while, "there are outcomes old enough", 60)
    process.kill()
    killed_at = time.monotonic()
    process.wait()
    owed = {f"u{number}" for number, put_at in lines() if float(put_at) < killed_at - 1}
    # So few that only time can have made a batch of them.
    assert 10 < len(owed) < 200
    with Ledger(ledger_url) as ledger:
        kept = {unit_key for _, unit_key in ledger.successes(SCOPE, 0, ["r1"])}
    assert owed - kept == set()


def test_forgetting_to_close_loses_nothing(tmp_path: Path) -> None:
    """A script that ends right after its last put has all of it in the ledger."""
    path = tmp_path / "ledger.db"
    code = (
        "from project_fanout.engine.ledger import Ledger\n"
        "from project_fanout_tests.engine.ledger.support import make_entry\n"
        f"Ledger({str(path)!r}).put(make_entry())\n"
    )
    run = run_python("-c", code, home=tmp_path)
    assert run.returncode == 0, run.stderr
    with Ledger(path) as ledger:
        assert len(ledger.entries(LedgerFilter())) == 1


OPEN_AND_PUT = """
import sys
from pathlib import Path
from project_fanout.engine.ledger import Ledger
from project_fanout_tests.engine.ledger.support import make_entry
from project_fanout_tests.waiting import wait_until
Path(sys.argv[3], sys.argv[2]).touch()
wait_until(Path(sys.argv[3], "go").exists, "all may begin")
with Ledger(sys.argv[1]) as ledger:
    ledger.put(make_entry(sys.argv[2]))
"""


def test_processes_that_make_the_ledger_at_once(ledger_url: str, tmp_path: Path) -> None:
    """Runs that start at the same moment and find no ledger all get the same one."""
    there = tmp_path / "there"
    there.mkdir()
    processes = [start("-c", OPEN_AND_PUT, ledger_url, f"u{n}", str(there), home=tmp_path) for n in range(4)]
    wait_until(lambda: len(list(there.iterdir())) == 4, "all are there", 60)
    (there / "go").touch()
    assert [process.wait(60) for process in processes] == [0, 0, 0, 0]
    with Ledger(ledger_url) as ledger:
        assert len(ledger.successes(SCOPE, 0, ["r1"])) == 4


def test_the_summary_counts_by_status(ledger: Ledger) -> None:
    """What there is: lineage, asset, partition, outcomes by status, from when to when, and how much."""
    ledger.put(make_entry("u1", ended_at=10.0))
    ledger.put(make_entry("u2", ended_at=30.0, status="failed", encoded=None))
    ledger.put(make_entry("u3", ended_at=20.0))
    ledger.put(make_entry("u1", ended_at=99.0, scope=replace(SCOPE, partition="p")))
    ledger.flush()
    newest, summary = ledger.scopes()
    assert newest.scope.partition == "p"
    assert summary.units == {"failed": 1, "succeeded": 2}
    assert (summary.first_at, summary.last_at, summary.size_bytes) == (10.0, 30.0, 22)


def test_prune_removes_whole_scopes_that_meet_every_condition(ledger: Ledger) -> None:
    """Old lineages go, by age, name or number kept, and never without a condition."""

    def fill() -> None:
        for lineage in range(4):
            for asset in ("a", "b"):
                for unit in range(2):
                    scope = LedgerScope(str(lineage), asset)
                    ledger.put(make_entry(f"u{unit}", scope=scope, ended_at=10.0 * lineage + unit))
        ledger.flush()

    def left() -> set[str]:
        return {f"{each.scope.lineage}{each.scope.asset}" for each in ledger.scopes()}

    fill()
    with pytest.raises(LedgerError, match="without a condition"):
        ledger.prune()
    with pytest.raises(LedgerError, match="whole lineages"):
        ledger.prune(LedgerFilter(lineage="1", status="failed"))
    # The last outcome counts: lineage 2 began before 20.5 and ended after.
    assert ledger.prune(ended_before=20.5).outcomes == 8
    assert left() == {"2a", "2b", "3a", "3b"}
    fill()
    assert ledger.prune(LedgerFilter(asset="a"), keep_last=1).scopes == 3
    assert left() == {"3a", "0b", "1b", "2b", "3b"}
    assert ledger.prune(LedgerFilter(lineage="3")).outcomes == 4
    assert left() == {"0b", "1b", "2b"}


def test_pruning_gives_the_disk_space_back(tmp_path: Path) -> None:
    """An SQLite ledger's file shrinks when lineages are removed from it."""
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger:
        for number in range(200):
            ledger.put(make_entry(f"u{number}", encoded=f'"{"x" * 10_000}"'))
    before = path.stat().st_size
    with Ledger(path) as ledger:
        ledger.prune(keep_last=0)
    assert before > 2_000_000
    assert path.stat().st_size < 100_000


def test_a_worker_does_not_load_the_ledger() -> None:
    """Importing the engine, as every pool worker does, loads no SQLAlchemy; the ledger no Dagster."""
    code = (
        "import sys, project_fanout.engine; assert 'sqlalchemy' not in sys.modules\n"
        "import project_fanout.engine.ledger.ledger, project_fanout.engine.ledger.claims\n"
        "assert 'dagster' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_what_is_in_work_when_its_run_dies_is_told_to_the_next(ledger_url: str) -> None:
    """A run that ends in order leaves no note, and an outcome ends that of its unit; prune removes the rest."""
    in_work = [InWork(SCOPE, "run-1", 0, "r1", key) for key in ("u1", "u2", "u3")]
    with Ledger(ledger_url) as orderly:
        orderly.begin(in_work[0], is_resumed=True)
    dead = Ledger(ledger_url)
    for each in in_work:
        dead.begin(each, is_resumed=False)
    dead.put(make_entry("u2"))
    with Ledger(ledger_url) as ledger:
        wait_until(lambda: ledger.died(SCOPE, 0, "run-2")("r1", "u1") == 1, "that it is in work is noted")
        dead._database.close()  # as the process ends that is killed
        died = ledger.died(SCOPE, 0, "run-2")
        assert [died("r1", key) for key in ("u1", "u2", "u3")] == [1, 0, 1]
        assert ledger.died(SCOPE, 0, "run-1")("r1", "u1") == 0, "a run does not suspect itself"
        ledger.put(make_entry("u1", status="failed", encoded=None))
        ledger.begin(InWork(SCOPE, "run-2", 0, "r1", "u3", died=1), is_resumed=True)
        assert ledger.died(SCOPE, 0, "run-3")("r1", "u3") == 2
        assert ledger.died(SCOPE, 0, "run-3")("r1", "u1") == 0
        ledger.prune(LedgerFilter(asset=SCOPE.asset))
        assert ledger.died(SCOPE, 0, "run-3")("r1", "u3") == 0
