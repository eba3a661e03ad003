"""A PostgreSQL server of one's own on loopback, for tests: in a temporary folder, stopped at the end."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

_HOW = "no PostgreSQL server (initdb, postgres): sudo apt-get install postgresql"


class PostgresServer:
    """A server in *folder*, which trusts everybody on this machine; listens when made."""

    def __init__(self, programs: Path, folder: Path) -> None:
        self._programs = programs
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        folder.chmod(0o700)
        if os.geteuid() == 0:
            shutil.chown(folder, *self._owner())
        arguments = ["--username=tester", "--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync"]
        self._run("initdb", *arguments, "--pgdata", str(folder / "data"))
        self.start()

    def start(self) -> None:
        """Start it and wait until it answers; it ends with the thread that has started it."""
        settings = [
            "listen_addresses=127.0.0.1",
            f"port={self.port}",
            "unix_socket_directories=",
            "max_connections=60",
            "fsync=off",  # its data need not outlive the machine, only the processes
        ]
        options = [part for setting in settings for part in ("-c", setting)]
        with (self._folder.parent / f"{self._folder.name}.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*self._as_owner(), self._programs / "postgres", "-D", self._folder / "data", *options],
                cwd="/",
                stdout=log,
                stderr=log,
            )
        for _ in range(600):
            asked = [self._programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "5"]
            if subprocess.run(asked, check=False).returncode == 0:
                return
            assert self._process.poll() is None, Path(log.name).read_text()
            try:
                self._process.wait(0.1)
            except subprocess.TimeoutExpired:
                continue
        pytest.fail(f"PostgreSQL did not answer within a minute: {Path(log.name).read_text()}")

    def stop(self, how: int = signal.SIGINT) -> None:
        """Stop it; whoever is connected loses the connection."""
        assert self._process is not None
        self._process.send_signal(how)
        self._process.wait(60)

    def restart(self) -> None:
        """Restart it as `pg_ctl -m immediate restart` does: it drops everybody and recovers as from a crash."""
        self.stop(signal.SIGQUIT)
        self.start()

    def cut_connections(self) -> int:
        """Terminate all connections to it, as an administrator may; return how many there were."""
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        query = (
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        with engine.connect() as connection:
            cut = len(connection.execute(text(query)).all())
        engine.dispose()
        return cut

    def new_database(self, like: str = "template1") -> str:
        """Return the URL of a new database; it holds what the one named *like*, or at that URL, holds: nothing."""
        name, like = f"t{uuid.uuid4().hex}", like.rpartition("/")[2]
        engine = create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {like}"))
        engine.dispose()
        return self._url(name)

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg2://tester@127.0.0.1:{self.port}/{database}"

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._as_owner(), self._programs / program, *arguments]
        done = subprocess.run(command, cwd="/", capture_output=True, check=False, timeout=120)
        assert done.returncode == 0, done.stderr.decode()

    @staticmethod
    def _owner() -> tuple[int, int]:
        """Return who runs it in root's place, because PostgreSQL refuses root."""
        for name in ("postgres", "nobody"):
            try:
                return pwd.getpwnam(name).pw_uid, pwd.getpwnam(name).pw_gid
            except KeyError:
                continue
        pytest.fail("root may not run PostgreSQL, and there is neither a user postgres nor nobody")

    def _as_owner(self) -> list[str]:
        if os.geteuid() != 0:
            return []
        uid, gid = self._owner()
        return ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", "--pdeathsig=QUIT", "--"]


def _programs() -> Path | None:
    found = shutil.which("initdb")
    folders = [Path(found).resolve().parent] if found else []
    folders += sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    return next((folder for folder in folders if (folder / "postgres").exists()), None)


@contextmanager
def running_server() -> Iterator[PostgresServer]:
    """Run a server; skips where none is installed (where CI=true, that fails)."""
    pytest.importorskip(
        "psycopg2", reason="the extra is not installed: pip install 'project_fanout[postgres]'"
    )
    programs = _programs()
    if programs is None:
        pytest.skip(_HOW)
    # Not in pytest's own folders: they are closed to the user that runs the server.
    with tempfile.TemporaryDirectory(prefix="project_fanout_postgres_") as temporary:
        Path(temporary).chmod(0o755)
        folder = Path(temporary) / "server"
        folder.mkdir()
        server = PostgresServer(programs, folder)
        try:
            yield server
        finally:
            # At once: the last checkpoint of a proper stop took up to 47 s, for files that are deleted anyway.
            server.stop(signal.SIGQUIT)


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[PostgresServer]:
    """One server for the whole session."""
    with running_server() as server:
        yield server


@pytest.fixture
def postgres_url(postgres_server: PostgresServer) -> str:
    """The SQLAlchemy URL of a new, empty database."""
    return postgres_server.new_database()
