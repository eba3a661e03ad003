"""The process that a `ProcessPool` runs units in: `main` is all that it imports before its first call."""

import faulthandler
import json
import logging
import os
import signal
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from project_fanout.engine.pools.calls import IMPORT_GRACE_S, UnitCall, UnitLog, UnitReply
from project_fanout.engine.pools.execute import execute
from project_fanout.engine.pools.logs import relayed_logs
from project_fanout.engine.pools.process.start_marks import StartMarks
from project_fanout.engine.pools.process.wire import Channel


def main(socket_fd: int, marks_fd: int, settings_json: str) -> None:
    """Serve calls from the socket until the pool closes it."""
    settings: dict[str, Any] = json.loads(settings_json)
    if sys.stderr is not None:  # closed, as `2>&-` does
        faulthandler.enable()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # A shell script's `dagster dev &` ignores SIGINT, Dagster then SIGTERM too, and so would its children.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for fd in (socket_fd, marks_fd):
        os.set_inheritable(fd, False)  # noqa: FBT003  # takes no keyword
    logging.getLogger().setLevel(settings["log_level"])
    if settings["memory_limit_mb"] is not None:
        _limit_memory(settings["memory_limit_mb"])
    os.nice(settings["niceness"])
    worker = _Worker(Channel(socket.socket(fileno=socket_fd)), StartMarks(marks_fd), settings)
    try:
        worker.serve()
    except EOFError:
        pass
    # It is over: whatever threads and exit handlers the units have left must not keep the process.
    os._exit(0)


class _Worker:
    def __init__(self, channel: Channel, marks: StartMarks, settings: dict[str, Any]) -> None:
        self._channel = channel
        self._marks = marks
        self._settings = settings
        self._sending = threading.Lock()
        self._alone = True
        self._nice = False
        # A process that a unit forks must neither speak for this worker nor keep its socket open: the
        # pool takes the end of the socket for the end of the worker.
        os.register_at_fork(after_in_child=self._leave)

    def serve(self) -> None:
        """Run what comes until a call has crashed this process or, as EOFError, the pool is gone."""
        self._marks.come_up()
        while True:
            calls: list[tuple[int, UnitCall, bool]] = self._channel.receive() or []
            self._nice = self._nice or _session_is_nice(self._settings["niceness"])
            for number, call, wants_logs in calls:
                mine = self._marks.start(number, IMPORT_GRACE_S)
                # Answered in any case: the pool may have given up taking the call back in this very moment.
                reply = self._run(number, call, wants_logs) if mine else None
                self._send((number, reply))
                if reply is not None and reply.status == "crashed":
                    return

    def _run(self, number: int, call: UnitCall, wants_logs: bool) -> UnitReply:
        def relay(log: UnitLog) -> None:
            self._send((number, log))

        reply = execute(
            call,
            max_result_bytes=self._settings["max_result_bytes"],
            on_loaded=self._marks.count_from_now,
            around=relayed_logs(call, self._settings["log_level"], relay) if wants_logs else None,
            memory_limit_mb=self._settings["memory_limit_mb"],
        )
        for stream in (sys.stdout, sys.stderr):
            with suppress(Exception):
                stream.flush()
        return reply

    def _send(self, message: tuple[int, UnitReply | UnitLog | None]) -> None:
        if not self._alone:
            # A forked child that returned from the unit: it is not the worker and must not go on as one.
            if not isinstance(message[1], UnitLog):
                os._exit(0)
            return
        with self._sending:
            self._channel.send(message)

    def _leave(self) -> None:
        self._alone = False
        self._channel.close()


def _session_is_nice(niceness: int) -> bool:
    """Give this session its niceness; return False if that has to be tried again later."""
    # Where Linux groups processes by session (autogroup), niceness counts within a session alone, and
    # every worker has one of its own. Other than root may set it only once in 0.1 s, all sessions together.
    try:
        Path("/proc/self/autogroup").write_text(str(niceness), encoding="ascii")
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _limit_memory(megabytes: int) -> None:
    import resource  # noqa: PLC0415  # wanted by few workers

    # RLIMIT_DATA counts private writable memory, as Linux accounts it: not shared libraries and not
    # address space that is only reserved, which make RLIMIT_AS refuse programs that use little.
    limit = megabytes * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
