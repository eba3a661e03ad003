"""`dagster dev` as a user starts it: a process of its own, asked over HTTP, ended without a trace."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.error import URLError
from urllib.request import Request, urlopen

from project_fanout.images.sensor import FOLDER_VARIABLE
from project_fanout_tests.orchestration.fault_work import FOLDER, half_done, journal
from project_fanout_tests.processes import environment

MARK = "PROJECT_FANOUT_TEST_SERVER"
ENDED = ("SUCCESS", "FAILURE", "CANCELED")
T = TypeVar("T")

# Asked five times a second: the server reads the events of a run for each of its steps, so these are not asked for.
RUNS = "{ runsOrError { ... on Runs { results { runId status jobName tags { key value } } } } }"
STEPS = """query Steps($id: ID!) { runOrError(runId: $id) { ... on Run {
    runId status stepStats { stepKey status }
} } }"""
LOCATIONS = """{ workspaceOrError { ... on Workspace { locationEntries {
    loadStatus locationOrLoadError { __typename ... on PythonError { message } }
} } } }"""
ERRORS = """query Errors($id: ID!) { logsForRun(runId: $id) { ... on EventConnection { events {
    ... on MessageEvent { stepKey message } ... on ErrorEvent { error { message causes { message } } }
} } } }"""
LAUNCH = """mutation Launch($params: ExecutionParams!) { launchRun(executionParams: $params) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
} }"""


def wait_for(event: Callable[[], T], what: str, timeout_s: float = 120) -> T:
    """Return the first true value of *event*; after *timeout_s* fail, saying *what* did not happen."""
    deadline = time.monotonic() + timeout_s
    while not (value := event()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout_s:g} s; last seen: {value!r}")
        time.sleep(0.2)
    return value


class DagsterDev:
    """A running `dagster dev`.

    Args:
        targets: the command line arguments that name the code locations.
        folder: an empty folder that it runs in; its DAGSTER_HOME and its log are made there.
        settings: the text of its dagster.yaml.

    Attributes:
        squares: the folder that runs of squares_job work in.
        photographs: the folder that the sensor looks at, empty at first.
        workers_run: the id of a run of workers_job.
        schedule_is_on: whether a test has switched on the schedule.
    """

    workers_run: str
    schedule_is_on = False

    def __init__(self, targets: Sequence[str], folder: Path, settings: str) -> None:
        self.folder = folder
        self.home = folder / "dagster_home"
        self.home.mkdir()
        (self.home / "dagster.yaml").write_text(settings)
        self.photographs = folder / "photographs"
        self.photographs.mkdir()
        self.squares = folder / "squares"
        self.squares.mkdir()
        self.log = folder / "dagster_dev.log"
        self.mark = f"{MARK}={uuid.uuid4().hex}"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{port}"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "dagster",
                    "dev",
                    "--host",
                    "127.0.0.1",
                    "--port",
                    str(port),
                    *targets,
                ],
                env={
                    **environment(self.home),
                    MARK: self.mark.partition("=")[2],
                    FOLDER: str(self.squares),
                    FOLDER_VARIABLE: str(self.photographs),
                },
                cwd=folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_for(self._answers, f"dagster dev answers on {self.url}")
            wait_for(self._loaded, "the code locations are loaded")
            # Dagster's invitation to its newsletter covers whatever page it is that is open when it comes.
            self.ask("mutation { setNuxSeen }")
        except BaseException:
            self.stop()
            raise

    def _answers(self) -> bool:
        if self.process.poll() is not None:
            raise RuntimeError(
                f"dagster dev ended with {self.process.returncode}:\n{self.log.read_text()[-4000:]}"
            )
        try:
            with urlopen(f"{self.url}/server_info", timeout=5) as answer:
                return bool(answer.status == 200)
        except (URLError, TimeoutError, ConnectionError):
            return False

    def _loaded(self) -> bool:
        entries = self.ask(LOCATIONS)["workspaceOrError"]["locationEntries"]
        locations = [each["locationOrLoadError"] for each in entries if each["locationOrLoadError"]]
        assert all(each["__typename"] == "RepositoryLocation" for each in locations), locations
        return bool(entries) and all(each["loadStatus"] == "LOADED" for each in entries)

    def ask(self, query: str, **variables: object) -> dict[str, Any]:
        """Return the data that GraphQL answers to *query*."""
        body = json.dumps({"query": query, "variables": variables}).encode()
        request = Request(f"{self.url}/graphql", body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=60) as answer:
            reply: dict[str, Any] = json.load(answer)
        assert "errors" not in reply, reply["errors"]
        data: dict[str, Any] = reply["data"]
        return data

    def runs(self) -> list[dict[str, Any]]:
        """Return all runs, the newest first."""
        found: list[dict[str, Any]] = self.ask(RUNS)["runsOrError"]["results"]
        return found

    def status(self, run_id: str) -> str:
        """Return what a run is at."""
        (status,) = (run["status"] for run in self.runs() if run["runId"] == run_id)
        return str(status)

    def run(self, run_id: str) -> dict[str, Any]:
        """Return a run with its steps."""
        run: dict[str, Any] = self.ask(STEPS, id=run_id)["runOrError"]
        return run

    def again(self, run_id: str, timeout_s: float = 180) -> dict[str, Any]:
        """Wait until somebody has re-executed a run, and return the run that does so."""
        tag = {"key": "dagster/parent_run_id", "value": run_id}
        return wait_for(
            lambda: next((run for run in self.runs() if tag in run["tags"]), None),
            f"run {run_id} is re-executed",
            timeout_s,
        )

    def launch(self, job: str, run_config: Mapping[str, object]) -> str:
        """Launch *job* of the tests' code location as the UI does, and return the run's id."""
        selector = {
            "repositoryLocationName": "tests",
            "repositoryName": "__repository__",
            "jobName": job,
        }
        params = {"selector": selector, "runConfigData": run_config}
        reply = self.ask(LAUNCH, params=params)["launchRun"]
        assert reply["__typename"] == "LaunchRunSuccess", reply
        return str(reply["run"]["runId"])

    def launch_squares(self) -> tuple[str, set[str]]:
        """Launch squares_job and wait until half of its units have ended; return the run's id, and which those are.

        The others wait while the file `hold` is in the folder.
        """
        run_id = self.launch("squares_job", {"execution": {"config": {"max_concurrent": 3}}})
        wait_for(lambda: half_done(self.squares), "half of the units have ended")
        return run_id, {unit for unit, _ in journal(self.squares, "squared")}

    def succeeded(self, run_id: str, timeout_s: float = 300) -> dict[str, Any]:
        """Wait until a run has ended, fail with its errors unless it succeeded, and return it."""
        wait_for(lambda: self.status(run_id) in ENDED, f"run {run_id} ends", timeout_s)
        run = self.run(run_id)
        if run["status"] != "SUCCESS":
            events = self.ask(ERRORS, id=run_id)["logsForRun"]["events"]
            raise AssertionError(
                "\n".join([run["status"], *(str(each) for each in events if each.get("error"))])
            )
        return run

    def processes(self) -> list[int]:
        """Return the processes that this server started, also those whose parent is gone."""
        found = []
        for each in Path("/proc").glob("[0-9]*"):
            try:
                variables = (each / "environ").read_bytes().split(b"\0")
                zombie = (each / "stat").read_text().rpartition(")")[2].split()[0] == "Z"
            except OSError:
                continue  # it has ended meanwhile, or is another user's
            if self.mark.encode() in variables and not zombie:
                found.append(int(each.name))
        return found

    @staticmethod
    def command_line(pid: int) -> str:
        """Return what a process was started with, "" if it has ended."""
        try:
            return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        except OSError:
            return ""

    def stop(self) -> list[int]:
        """End the server as Ctrl-C does; return what outlived it by 30 s, after killing that."""
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGINT)
        try:
            wait_for(lambda: self.process.poll() is not None and not self.processes(), "all of it ends", 30)
        except TimeoutError:
            left = self.processes()
            for pid in left:
                os.kill(pid, signal.SIGKILL)
            self.process.wait()
            return left
        return []
