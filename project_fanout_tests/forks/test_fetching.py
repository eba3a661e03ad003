"""Where a file may be, and what the network may bring: against real servers on this machine."""

import threading

import pytest

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
        assert "a redirect has to stay on the host, and on https" in said
    assert (tmp_path / "file").read_bytes() == b"x"
