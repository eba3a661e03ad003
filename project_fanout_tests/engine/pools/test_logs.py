"""What a unit logs reaches its caller: all of it, and nothing that is not its own."""

import logging
import sys
import threading
from pathlib import Path

import pytest

from project_fanout.engine import InlinePool, ProcessPool
from project_fanout.engine.pools.attempt.logs import relayed_logs
from project_fanout.engine.pools.calls import UnitLog, UnitPool
from project_fanout_tests.engine.pools.support import make_call


def test_no_record_is_lost_when_another_unit_ends_meanwhile() -> None:
    """A unit's log record arrives also if another unit ends in the very moment in which it is handed on."""
    received: list[str] = []
    other_began, end_other, other_ended = (threading.Event() for _ in range(3))

    def other_unit() -> None:
        with relayed_logs(make_call("echo", key="other"), logging.INFO, lambda log: received.append("?")):
            other_began.set()
            assert end_other.wait(20)
        other_ended.set()

    def take(log: UnitLog) -> None:
        end_other.set()
        assert other_ended.wait(20)
        received.append(log.message)

    thread = threading.Thread(target=other_unit)
    thread.start()
    assert other_began.wait(20)
    with relayed_logs(make_call("echo"), logging.INFO, take):
        logging.getLogger("stage").info("kept")
        logging.getLogger("stage").info("kept, too")
    thread.join(20)
    assert received == ["kept", "kept, too"]


def test_levels_are_those_of_each_caller() -> None:
    """Units at once that want different levels each get theirs, and the root logger is as before after."""
    root = logging.getLogger()
    before = (root.level, list(root.handlers))
    received: dict[str, list[int]] = {"fine": [], "coarse": []}
    both_began = threading.Barrier(2)

    def unit(name: str, level: int) -> None:
        with relayed_logs(make_call("echo"), level, lambda log: received[name].append(log.level)):
            both_began.wait(20)
            for each in (logging.DEBUG, logging.WARNING, logging.ERROR):
                logging.getLogger("stage").log(each, "said")

    threads = [threading.Thread(target=unit, args=each) for each in (("fine", 10), ("coarse", 40))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert received == {"fine": [10, 30, 40], "coarse": [40]}
    assert (root.level, root.handlers) == before


@pytest.mark.parametrize("kind", [InlinePool, ProcessPool])
def test_what_a_module_logs_on_import_is_not_the_units(
    kind: type, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage's module may import what logs a lot; the unit's log begins with the unit."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = f"talkative_{kind.__name__.lower()}"
    (tmp_path / f"{name}.py").write_text(
        "import logging\n"
        "logging.getLogger('library').warning('setting up')\n"
        "def stage(unit):\n"
        "    logging.getLogger('stage').warning('working')\n"
    )
    logs: list[UnitLog] = []
    pool: UnitPool = kind()
    try:
        reply = pool.submit(make_call(f"{name}:stage", import_root=str(tmp_path)), logs.append).result(60)
    finally:
        pool.close()
        sys.modules.pop(name, None)
    assert reply.status == "succeeded", reply.error
    assert [log.message for log in logs] == ["working"]


def test_a_traceback_is_the_same_whether_or_not_somebody_listens() -> None:
    """It begins with the user's own code."""
    pool = InlinePool()
    silent, heard = (
        pool.submit(make_call("raise_error", 7), on_log).result().error for on_log in (None, print)
    )
    assert silent == heard
    assert silent is not None
    assert silent.traceback.splitlines()[1].rstrip().endswith("in raise_error")
