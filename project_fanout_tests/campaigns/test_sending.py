import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from aiosmtpd.smtp import AuthResult

from project_fanout.campaigns.delivery import Delivery
from project_fanout.campaigns.errors import CampaignError
from project_fanout.campaigns.message import Letter
from project_fanout.campaigns.sending import Sender
from project_fanout.campaigns.settings import Destination, MailServer, MailServerOfRun
from project_fanout.campaigns.sink import HOST
from project_fanout_tests.campaigns.servers import FaultyHandler, free_port, recipients_of, running
from project_fanout_tests.waiting import wait_until

CONTENT = "Subject: hello\r\n\r\n.a line with a dot\r\n"


def letter(name: str, row: int = 1, *, needs_utf8: bool = False) -> Letter:
    address = f"{name}@post.example"
    return Letter(row, address, "news@shop.example", address, needs_utf8, CONTENT)


def server(port: int, **settings: Any) -> MailServer:
    defaults = {"security": "none", "retry_for_s": 10.0, "timeout_s": 10.0}
    return MailServerOfRun(host=HOST, port=port, **{**defaults, **settings})


def sender(folder: Path, settings: MailServer) -> Sender:
    destination = Destination.of(settings, deliver=True, output_dir=str(folder))
    return Sender("spring", destination, str(folder / "ledger.db"))


def deliver(folder: Path, settings: MailServer, letters: list[Letter]) -> list[Delivery]:
    """Deliver with a sender for these letters alone."""
    with closing(sender(folder, settings)) as one:
        return one.deliver(letters)


def by_name(deliveries: list[Delivery]) -> dict[str, Delivery]:
    return {(each.address or "").split("@")[0]: each for each in deliveries}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, FaultyHandler]]:
    """A server with faults, its port and what it has kept."""
    handler = FaultyHandler(tmp_path_factory.mktemp("mail") / "maildir")
    with running(handler) as port:
        yield port, handler


def test_each_fault_has_its_outcome(faulty: tuple[int, FaultyHandler], tmp_path: Path) -> None:
    """Refusals are final, what passes is tried again, a lost answer is unknown, and the others get their mail."""
    port, handler = faulty
    names = [
        "fine1",
        "refused",
        "refused-late",
        "deferred",
        "deferred-late",
        "dropped-early",
        "goodbye",
        "slow",
    ]
    names += ["dropped-late", "kept-then-dropped", "always-deferred", "fine2"]
    with_faults = sender(tmp_path, server(port, retry_for_s=3.0))

    outcomes = by_name(with_faults.deliver([letter(name, row) for row, name in enumerate(names)]))
    again = by_name(with_faults.deliver([letter(name, row) for row, name in enumerate(names)]))
    with_faults.close()

    delivered = {"fine1", "deferred", "deferred-late", "dropped-early", "goodbye", "slow", "fine2"}
    lost = {"dropped-late", "kept-then-dropped"}
    assert {name for name, each in outcomes.items() if each.status == "sent"} == delivered
    assert {name for name, each in outcomes.items() if each.status == "unknown"} == lost
    assert (outcomes["refused"].status, outcomes["refused"].reason) == ("refused", "550 5.1.1")
    assert (outcomes["refused-late"].status, outcomes["refused-late"].reason) == ("refused", "554 5.7.1")
    assert "looks like spam" in str(outcomes["refused-late"].detail)
    assert (outcomes["always-deferred"].status, outcomes["always-deferred"].reason) == ("failed", "451 4.2.2")
    assert handler.seen["always-deferred@post.example"] > 2
    kept = recipients_of(handler.maildir)
    assert kept == Counter(f"{name}@post.example" for name in delivered | {"kept-then-dropped"})
    assert {name: again[name].reason for name in delivered} == dict.fromkeys(delivered, "sent before")
    assert {name for name, each in again.items() if each.status == "unknown"} == lost


def test_what_is_unknown_is_sent_again_only_when_asked(tmp_path: Path) -> None:
    """resend_unknown takes over what nobody knows the end of; without it nobody risks a second message."""
    handler = FaultyHandler(tmp_path / "maildir")
    with running(handler) as port:
        one = sender(tmp_path, server(port))
        assert one.deliver([letter("kept-then-dropped")])[0].status == "unknown"
        assert one.deliver([letter("kept-then-dropped")])[0].reason == "claimed, not confirmed"
        assert sum(recipients_of(handler.maildir).values()) == 1
        one.deliver([letter("kept-then-dropped")], resend_unknown=True)
        one.close()
    assert sum(recipients_of(handler.maildir).values()) == 2


def test_a_server_that_goes_away_is_waited_for(tmp_path: Path) -> None:
    """The server goes away for 2 s between two messages; nothing is lost and nobody gets two."""
    port, handler = free_port(), FaultyHandler(tmp_path / "maildir")
    letters = [letter(f"reader{row}", row) for row in range(100)]
    outcomes: list[Delivery] = []
    one = sender(tmp_path, server(port, retry_for_s=30.0, max_per_second=50.0))
    thread = threading.Thread(target=lambda: outcomes.extend(one.deliver(letters)))
    with running(handler, port):
        thread.start()
        wait_until(lambda: len(handler.seen) > 20, "more than 20 are under way")
    thread.join(2)
    assert thread.is_alive()
    with running(handler, port):
        thread.join(60)
    one.close()

    kept = recipients_of(handler.maildir)
    assert len(outcomes) == 100
    assert set(kept.values()) == {1}
    sent = {each.address for each in outcomes if each.status == "sent"}
    unknown = {each.address for each in outcomes if each.status == "unknown"}
    assert len(unknown) <= 1
    assert sent <= set(kept) <= sent | unknown
    assert len(sent | unknown) == 100


def test_a_server_that_stays_away_fails_all_soon(tmp_path: Path) -> None:
    """Without a server every recipient has an outcome that says so, and the next run sends."""
    port = free_port()
    one = sender(tmp_path, server(port, retry_for_s=1.0))

    outcomes = one.deliver([letter(f"reader{row}", row) for row in range(50)])
    outcomes += one.deliver([letter(f"more{row}", row) for row in range(50)])
    one.close()

    assert {(each.status, each.reason) for each in outcomes} == {("failed", "server unreachable")}
    assert len(outcomes) == 100
    with running(FaultyHandler(tmp_path / "maildir"), port):
        later = sender(tmp_path, server(port))
        assert later.deliver([letter("reader1")])[0].status == "sent"
        later.close()


def test_a_server_without_utf8_refuses_only_those_who_need_it(
    tmp_path: Path, faulty: tuple[int, FaultyHandler]
) -> None:
    """An address with a non-ASCII local part is delivered where the server can, byte for byte."""
    one = sender(tmp_path, server(faulty[0]))

    assert one.deliver([letter("jörg", needs_utf8=True)])[0].status == "sent"
    one.close()
    assert recipients_of(faulty[1].maildir)["jörg@post.example"] == 1


@pytest.mark.parametrize(
    ("settings", "deliver", "message"),
    [
        ({}, True, "deliver is true, but mail_server has no host"),
        ({"host": ""}, True, "deliver is true, but mail_server has no host"),
        ({"host": "h", "username": "u"}, True, "give both to log in, or neither"),
        (
            {"host": "h", "username": "u", "password_variable": "P", "security": "none"},
            True,
            "would send the password in the clear",
        ),
    ],
)
def test_settings_that_cannot_be_are_refused(
    settings: Any, deliver: bool, message: str, tmp_path: Path
) -> None:
    """A switch without a host, half a login and a password in the clear are refused before anything is sent."""
    with pytest.raises(CampaignError, match=message):
        Destination.of(MailServer(**settings), deliver=deliver, output_dir=str(tmp_path))


def test_a_host_alone_sends_nothing_away(tmp_path: Path) -> None:
    """Without the switch, mail for a configured host stays in the Maildir of this machine."""
    destination = Destination.of(
        MailServer(host="mail.shop.example"), deliver=False, output_dir=str(tmp_path)
    )
    rehearsal = Sender("spring", destination, str(tmp_path / "ledger.db"))
    assert rehearsal.deliver([letter("reader1")])[0].status == "sent"
    rehearsal.close()

    assert recipients_of(tmp_path / "maildir") == {"reader1@post.example": 1}
    real = Destination.of(MailServer(host="mail.shop.example"), deliver=True, output_dir=str(tmp_path))
    assert real.namespace("spring") != destination.namespace("spring")


def test_no_encryption_no_mail(faulty: tuple[int, FaultyHandler], tmp_path: Path) -> None:
    """A server without STARTTLS gets nothing unless the user allows plain text; the error says how."""
    insecure = MailServer(host=HOST, port=faulty[0], security="starttls")
    with pytest.raises(CampaignError, match="offers no STARTTLS"):
        deliver(tmp_path, insecure, [letter("reader1")])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a file with a key and a certificate for 127.0.0.1 that nobody has signed but itself."""
    pem = tmp_path_factory.mktemp("tls") / "server.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=sink"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(pem), "-out", f"{pem}.crt"]
    subprocess.run(command, check=True, capture_output=True)
    with pem.open("a") as file:
        file.write(Path(f"{pem}.crt").read_text())
    return pem


def test_login_over_an_encrypted_connection(
    certificate: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mail goes out with STARTTLS and login; what stands in the way is named, the password never."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    handler = FaultyHandler(tmp_path / "maildir")
    monkeypatch.setenv("SMTP_PASSWORD", "correct horse")
    login = {"security": "starttls", "username": "shop", "password_variable": "SMTP_PASSWORD"}

    def check(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> AuthResult:
        return AuthResult(success=(data.login, data.password) == (b"shop", b"correct horse"), handled=False)

    with running(handler, tls_context=context, auth_required=True, authenticator=check) as port:
        with pytest.raises(CampaignError, match="certificate has to be valid"):
            deliver(tmp_path, server(port, **login), [letter("reader1")])
        monkeypatch.setenv("SSL_CERT_FILE", f"{certificate}.crt")
        one = sender(tmp_path, server(port, **login))
        assert one.deliver([letter("reader1")])[0].status == "sent"
        one.close()
        monkeypatch.setenv("SMTP_PASSWORD", "battery staple")
        with pytest.raises(CampaignError, match="refused the login of 'shop' with code 535") as refused:
            deliver(tmp_path, server(port, **login), [letter("reader2")])
        assert "battery" not in str(refused.value)
        monkeypatch.delenv("SMTP_PASSWORD")
        with pytest.raises(
            CampaignError, match="variable SMTP_PASSWORD, which password_variable names, is not set"
        ):
            deliver(tmp_path, server(port, **login), [letter("reader2")])
    assert recipients_of(handler.maildir) == {"reader1@post.example": 1}


def test_many_senders_at_once_send_one_each(tmp_path: Path) -> None:
    """Four senders with the same list at the same time: everybody gets one message and one of them says so."""
    handler = FaultyHandler(tmp_path / "maildir")
    letters = [letter(f"reader{row}", row) for row in range(120)]
    results: list[list[Delivery]] = []

    with running(handler) as port:

        def send() -> None:
            one = sender(tmp_path, server(port))
            found: list[Delivery] = []
            for first in range(0, 120, 30):
                found += one.deliver(letters[first : first + 30])
            one.close()
            results.append(found)

        threads = [threading.Thread(target=send) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)

    assert recipients_of(handler.maildir) == Counter(each.address for each in letters)
    assert [len(found) for found in results] == [120] * 4
    new = [each.row for found in results for each in found if each.status == "sent" and each.reason is None]
    assert sorted(new) == list(range(120))
    assert {each.status for found in results for each in found} == {"sent"}
