"""Where a file may be, and what the network may bring: against real servers on this machine."""

import os
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest

from project_fanout.engine.errors import RetryAfter
from project_fanout.forks.fetched import RemoteFilesOfRun, forget_fetched
from project_fanout.forks.fetching import FileLocationError, RemoteFiles, fetch
from project_fanout.forks.files import local_path, opened_locally
from project_fanout_tests.forks.servers import content, endless, redirect, serving, standing_in_for


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    """What surrounds the tests must not answer for the servers."""
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def refused(url, target, **limits):
    """The reason why *url* is not fetched."""
    with pytest.raises(FileLocationError) as error:
        fetch(url, RemoteFiles(**limits), target / "file")
    return str(error.value)


@pytest.mark.parametrize(
    ("location", "path"),
    [
        ("/data/a b.png", "/data/a b.png"),
        ("/data/50%25.png", "/data/50%25.png"),
        ("file:///data/a%20b.png", "/data/a b.png"),
        ("file://localhost/data/a.png", "/data/a.png"),
        ("FILE:/data/a.png", "/data/a.png"),
        ("/data/../data/http:x", "/data/../data/http:x"),
    ],
)
def test_local_files_by_path_and_url(location, path):
    """A path is taken as it is, and a file: URL for the path that it encodes."""
    assert str(local_path(location)) == path


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("ftp://host/a.png", "of the kind 'ftp', accepted: a local path, a file: URL"),
        ("s3://bucket/a.png", "of the kind 's3'"),
        ("data:image/png;base64,AAAA", "of the kind 'data'"),
        ("GOPHER://host/", "of the kind 'gopher'"),
        ("file://server/share/a.png", "a file on 'server', accepted: file:///path"),
    ],
)
def test_other_locations_are_refused_by_name(location, said):
    """What is neither local nor http is named, not tried."""
    with pytest.raises(FileLocationError, match=said):
        local_path(location)


def test_a_file_of_an_allowed_host(tmp_path):
    """A file is fetched whole, through a redirect on the same host; the copy goes when it is done with."""
    answers = {"/picture?a=b&c=d": content(b"x" * 100_000), "/moved": redirect("/picture?a=b&c=d")}
    with serving(answers) as (host, asked):
        remote = RemoteFiles(allowed_hosts=(host,))
        with opened_locally(f"http://{host}/moved", remote) as path:
            assert path.read_bytes() == b"x" * 100_000
        assert not path.parent.exists()
        assert asked == ["/moved", "/picture?a=b&c=d"]


def test_a_path_may_have_any_letters(tmp_path):
    """Letters that are not ASCII are sent as their percent codes; those that are codes already stay."""
    with serving({"/%C3%A4%20b?q=%C3%B6&r=%25": content(b"x")}) as (host, asked):
        fetch(f"http://{host}/ä%20b?q=ö&r=%25", RemoteFiles((host,)), tmp_path / "file")
    assert asked == ["/%C3%A4%20b?q=%C3%B6&r=%25"]


def test_a_redirect_may_have_any_letters(tmp_path):
    """A server that sends a place in bare UTF-8, with a space, is asked for exactly that."""
    answers = {
        "/moved": redirect("/ä b%20c?q=ö".encode().decode("latin-1")),
        "/%C3%A4%20b%20c?q=%C3%B6": content(b"x"),
    }
    with serving(answers) as (host, _):
        fetch(f"http://{host}/moved", RemoteFiles((host,)), tmp_path / "file")
    assert (tmp_path / "file").read_bytes() == b"x"


@pytest.mark.parametrize("allowed", [(), ("example.org",), ("127.0.0.1",), ("127.0.0.1:1",)])
def test_a_host_that_is_not_allowed_gets_no_request(tmp_path, allowed):
    """A name stands for that name and its default port alone, and a refused server hears nothing."""
    with serving({"/a": content(b"x")}) as (host, asked):
        said = refused(f"http://{host}/a", tmp_path, allowed_hosts=allowed)
        assert f"at the host '{host}', accepted: {', '.join(allowed) or 'none'}" in said
        assert asked == []


@pytest.mark.parametrize(
    ("allowed", "url", "allows"),
    [
        ("host.org", "http://HOST.org/a", True),
        ("Host.org", "https://host.org:443/a", True),
        ("host.org", "https://host.org:8443/a", False),
        ("host.org:8443", "https://host.org:8443/a", True),
        ("host.org:80", "http://host.org/a", True),
        ("host.org", "http://host.org.evil.org/a", False),
        ("host.org", "http://evil.org/host.org", False),
        ("host.org", "http://evilhost.org/", False),
        ("[::1]:80", "http://[::1]/", True),
    ],
)
def test_which_hosts_an_entry_allows(allowed, url, allows):
    """Host names are compared whole and without regard to case."""
    from urllib.parse import urlsplit

    assert RemoteFiles(allowed_hosts=(allowed,)).allows(urlsplit(url)) is allows


@pytest.mark.parametrize("named_as", ["127.0.0.1", "localhost"])
def test_a_redirect_to_another_allowed_host(tmp_path, named_as):
    """A file that an allowed host has moved to another allowed one is fetched there, and back again."""
    answers, others = {}, {"/a": content(b"x")}
    with serving(answers) as (host, asked), serving(others) as (other, asked_other):
        elsewhere = other.replace("127.0.0.1", named_as)
        answers.update({"/moved": redirect(f"http://{elsewhere}/a"), "/b": content(b"y")})
        others["/back"] = redirect(f"http://{host}/b")
        answers["/round"] = redirect(f"//{elsewhere}/back")
        remote = RemoteFiles((host, elsewhere))
        fetch(f"http://{host}/moved", remote, tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == b"x"
        fetch(f"http://{host}/round", remote, tmp_path / "file")
        assert (tmp_path / "file").read_bytes() == b"y"
    assert (asked, asked_other) == (["/moved", "/round", "/b"], ["/a", "/back"])


def test_redirects_to_other_hosts_are_not_followed(tmp_path):
    """An allowed host cannot send the request on: not to another host, nor to a file, nor round in circles."""
    with serving({"/a": content(b"secret")}) as (other, asked_other):
        answers = {
            "/other": redirect(f"http://{other.replace('127.0.0.1', 'localhost')}/a"),
            "/port": redirect(f"http://{other}/a"),
            "/file": redirect("file:///etc/passwd"),
            "/ftp": redirect("ftp://127.0.0.1/a"),
            "/circle": redirect("/circle"),
        }
        with serving(answers) as (host, asked):
            for path in answers:
                said = refused(f"http://{host}{path}", tmp_path, allowed_hosts=(host, "localhost", other[:9]))
                assert host in said, said
            assert asked.count("/circle") <= 6
        assert asked_other == []


def test_no_larger_file_than_allowed(tmp_path):
    """The limit holds for what the server announces and for what it then sends."""
    stop = threading.Event()
    answers = {"/announced": content(b"x" * 2000), "/endless": endless(stop)}
    with serving(answers) as (host, _):
        said = refused(f"http://{host}/announced", tmp_path, allowed_hosts=(host,), max_bytes=1999)
        assert "is 2,000 bytes, and max_bytes is 1,999" in said
        said = refused(f"http://{host}/endless", tmp_path, allowed_hosts=(host,), max_bytes=3)
        assert "is more bytes, and max_bytes is 3" in said
        stop.set()


def test_no_longer_than_allowed(tmp_path):
    """A server that trickles a byte now and then does not hold a worker: the limit is for all of a file."""
    stop = threading.Event()
    with serving({"/trickle": endless(stop)}) as (host, _):
        said = refused(f"http://{host}/trickle", tmp_path, allowed_hosts=(host,), timeout_s=0.5)
        stop.set()
    assert "took longer than timeout_s, 0.5 s" in said


def test_a_file_that_ends_too_early(tmp_path):
    """Half a file is no file."""
    with serving({"/half": content(b"x" * 10, Content_Length="20")}) as (host, _):
        said = refused(f"http://{host}/half", tmp_path, allowed_hosts=(host,))
    assert "ended after 10 of 20 bytes" in said


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://{host}/gone", "was answered with 404 Not Found, accepted: 200"),
        ("http://user:secret@{host}/a", "holds a user name or password"),
        ("http://{host}x/a", "is not a URL"),
        ("http://user:secret@{host}x/a", "is not a URL"),
        ("http://{host}/away", "redirects to 'http://elsewhere.example/a'"),
        ("http://{host}/here", "holds a user name or password"),
        ("http://{host}/file", "redirects to 'file://elsewhere.example/a': a redirect has to stay"),
        ("http://{host}/part", "was answered with 206 Partial Content, accepted: 200"),
        ("http://{host}/none", "was answered with 204 No Content, accepted: 200"),
        ("http:///a", "at the host ''"),
    ],
)
def test_other_reasons(tmp_path, url, said):
    """What else can go wrong is said plainly, and no password with it, whether the user's or the server's."""
    answers = {
        "/away": redirect("http://user:secret@elsewhere.example/a"),
        "/file": redirect("file://user:secret@elsewhere.example/a"),
        "/part": content(b"x" * 4, status=206, Content_Range="bytes 0-3/10"),
        "/none": content(b"", status=204),
    }
    with serving(answers) as (host, _):
        answers["/here"] = redirect(f"http://user:secret@{host}/a")
        reason = refused(url.format(host=host), tmp_path, allowed_hosts=(host,))
    assert said in reason
    assert "secret" not in reason


def later(status, retry_after):
    """An answer that asks for patience."""
    return content(b"no", status=status, Retry_After=retry_after)


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    ("retry_after", "least", "most"),
    [
        (lambda: "2", 2, 2),
        (lambda: " 0 ", 0, 0),
        (lambda: "3600", 3600, 3600),
        (lambda: formatdate(time.time() + 100, usegmt=True), 50, 100),
        (lambda: formatdate(time.time() - 100, usegmt=True), 0, 0),
    ],
)
def test_a_server_that_says_when_to_come_back(tmp_path, status, retry_after, least, most):
    """A Retry-After, in seconds or as a date, is what the unit waits, with no attempt lost."""
    with serving({"/a": later(status, retry_after())}) as (host, _), pytest.raises(RetryAfter) as told:
        fetch(f"http://{host}/a", RemoteFiles((host,)), tmp_path / "file")
    assert least <= told.value.seconds <= most
    assert f"/a' was answered with {status}" in str(told.value)


@pytest.mark.parametrize(
    ("status", "retry_after", "said"),
    [
        (429, "soon", "was answered with 429 Too Many Requests, accepted: 200"),
        (429, "-5", "was answered with 429 Too Many Requests, accepted: 200"),
        (429, "1.5", "was answered with 429 Too Many Requests, accepted: 200"),
        (429, "", "was answered with 429 Too Many Requests, accepted: 200"),
        (
            503,
            "86400",
            "was answered with 503 Service Unavailable and asks for 86,400 s of patience, accepted: 3,600 s",
        ),
        (404, "5", "was answered with 404 Not Found, accepted: 200"),
    ],
)
def test_other_answers_are_failures(tmp_path, status, retry_after, said):
    """Without a time that can be read, or with one in the far future, the answer is a failure."""
    with serving({"/a": later(status, retry_after)}) as (host, _):
        assert said in refused(f"http://{host}/a", tmp_path, allowed_hosts=(host,))


@pytest.fixture
def of_run(monkeypatch, tmp_path):
    """Make the settings of a run of its own, whose shared files are in a folder of the test."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return lambda *hosts, **settings: RemoteFilesOfRun(hosts, run=f"run{tmp_path.name}", **settings)


def together(count, work):
    """Do *work* in that many threads at once, and return what each of them returned or raised."""
    barrier = threading.Barrier(count)

    def started(_):
        barrier.wait()
        try:
            return work()
        except Exception as error:  # noqa: BLE001  # it is what is asked for
            return error

    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(started, range(count)))


def test_one_url_is_fetched_once_for_all_tasks_of_a_run(of_run):
    """Tasks that ask for one URL, at once or later, share one answer of the server; at the end it goes."""
    with serving({"/a": content(b"x" * 100_000), "/b": content(b"y")}) as (host, asked):
        remote = of_run(host)

        def read(path="/a"):
            with opened_locally(f"http://{host}{path}", remote) as file:
                return file.read_bytes()

        assert together(8, read) == [b"x" * 100_000] * 8
        assert read("/b") == b"y"
        assert read() == read("/a#part") == b"x" * 100_000
        assert asked == ["/a", "/b"]
        forget_fetched(remote.run)
        assert list(Path(tempfile.gettempdir()).iterdir()) == []
        assert read() == b"x" * 100_000
    assert asked == ["/a", "/b", "/a"]


def test_another_run_fetches_anew(of_run):
    """What one run has fetched may have changed for the next one."""
    with serving({"/a": content(b"x")}) as (host, asked):
        for run in ("one", "two"):
            with opened_locally(f"http://{host}/a", replace(of_run(host), run=run)) as file:
                assert file.read_bytes() == b"x"
    assert asked == ["/a", "/a"]


def test_those_who_wait_share_a_failure_and_a_later_attempt_asks_again(of_run):
    """A file that cannot be had is asked for once by all who wait for it, and once more by who comes after."""
    arrived = threading.Semaphore(0)

    def slow(request):
        for _ in range(5):
            arrived.acquire(timeout=30)
        # They are about to wait for the lock, of which nothing tells.
        threading.Event().wait(0.3)
        request.send_error(500)

    answers = {"/a": slow}
    with serving(answers) as (host, asked):
        remote = of_run(host)

        def read():
            arrived.release()
            with opened_locally(f"http://{host}/a", remote) as file:
                return file.read_bytes()

        failures = together(5, read)
        assert {type(failure) for failure in failures} == {FileLocationError}
        assert len({str(failure) for failure in failures}) == 1
        assert asked == ["/a"]
        answers["/a"] = content(b"x")
        assert read() == b"x"
    assert asked == ["/a", "/a"]


def test_a_server_is_left_alone_as_long_as_it_asks(of_run):
    """Who comes before the time that a server has named waits for the rest of it; the server hears nothing."""
    with serving({"/a": later(429, "100")}) as (host, asked):
        remote = of_run(host)
        for _ in range(3):
            with pytest.raises(RetryAfter) as told, opened_locally(f"http://{host}/a", remote):
                pass
            assert 0 < told.value.seconds <= 100
    assert asked == ["/a"]


def test_no_more_files_are_kept_than_allowed(of_run):
    """Beyond keep_bytes those that were used longest ago go, but never one in use; with 0 none is kept."""
    paths = ["/a", "/b", "/c"]
    with serving({path: content(path.encode() * 5) for path in paths}) as (host, asked):

        def kept(remote):
            folder = Path(tempfile.gettempdir())
            return sorted(
                file.read_bytes()[:2].decode()
                for file in folder.rglob("*")
                if file.is_file() and not file.suffix
            )

        remote = of_run(host, keep_bytes=20)
        for path in (*paths, "/c", "/a"):
            with opened_locally(f"http://{host}{path}", remote) as file:
                assert file.read_bytes() == path.encode() * 5
        assert asked == ["/a", "/b", "/c", "/a"]
        assert kept(remote) == ["/a", "/c"]
        small = replace(remote, keep_bytes=1, run="small")
        with (
            opened_locally(f"http://{host}/a", small) as one,
            opened_locally(f"http://{host}/b", small) as other,
        ):
            assert (one.read_bytes(), other.read_bytes()) == (b"/a" * 5, b"/b" * 5)
        forget_fetched(remote.run)
        forget_fetched("small")
        with opened_locally(f"http://{host}/a", replace(remote, keep_bytes=0)) as file:
            assert file.read_bytes() == b"/a" * 5
        assert list(Path(tempfile.gettempdir()).iterdir()) == []


def test_a_killed_run_leaves_its_files_for_a_day(of_run):
    """The first to fetch in another run removes what is older."""
    with serving({"/a": content(b"x")}) as (host, _):
        for run in ("old", "young"):
            with opened_locally(f"http://{host}/a", replace(of_run(host), run=run)) as file:
                pass
            if run == "old":
                os.utime(file.parent, (0, 0))
        assert [folder.name for folder in Path(tempfile.gettempdir()).iterdir()] == [
            "project_fanout_fetched_young"
        ]


def test_nobody_there(tmp_path):
    """A host that does not answer is named with the system's reason."""
    with serving({}) as (host, _):
        pass
    assert "cannot be fetched: " in refused(f"http://{host}/a", tmp_path, allowed_hosts=(host,))


def test_https_is_verified(tmp_path, monkeypatch):
    """A server that cannot prove to be the host is not believed, and one that can does not lead away from https."""
    answers = {"/a": content(b"x"), "/plain": redirect("http://pictures.example/a")}
    with standing_in_for("pictures.example", answers, tmp_path) as environment:
        monkeypatch.setenv("https_proxy", environment["https_proxy"])
        monkeypatch.setenv("no_proxy", "")
        said = refused("https://pictures.example/a", tmp_path, allowed_hosts=("pictures.example",))
        assert "certificate verify failed" in said
        monkeypatch.setenv("SSL_CERT_FILE", environment["SSL_CERT_FILE"])
        fetch("https://pictures.example/a", RemoteFiles(("pictures.example",)), tmp_path / "file")
        said = refused("https://pictures.example/plain", tmp_path, allowed_hosts=("pictures.example",))
        assert "a redirect has to stay on allowed hosts (pictures.example), and on https" in said
    assert (tmp_path / "file").read_bytes() == b"x"
