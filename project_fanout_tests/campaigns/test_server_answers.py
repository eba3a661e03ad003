"""What becomes of the mail when a server answers oddly, at length, or not as the settings have it."""

import socket
import socketserver
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from project_fanout.campaigns import connection, sending
from project_fanout.campaigns.errors import CampaignError
from project_fanout.campaigns.sending import Sender
from project_fanout.campaigns.settings import Destination
from project_fanout.campaigns.sink import HOST, MaildirHandler
from project_fanout.engine.ledger import Claims
from project_fanout_tests.campaigns.servers import recipients_of, running, scripted
from project_fanout_tests.campaigns.test_sending import by_name, deliver, letter, sender, server
from project_fanout_tests.waiting import wait_until

PASSWORD = "SMTP_PASSWORD"  # the name of its variable


def deliver_after_login(folder: Path, port: int) -> None:
    """Deliver a letter with a login; in the clear, because what encrypts is tested elsewhere."""
    settings = server(port, username="shop", password_variable=PASSWORD, retry_for_s=1.0)
    with closing(Sender("spring", Destination(settings, folder, None), str(folder / "ledger.db"))) as one:
        one.deliver([letter("reader1")])


def test_a_full_mailbox_keeps_nobody_waiting(tmp_path: Path) -> None:
    """Who is deferred is tried again after the others and for deferred_for_s; a later run sends to them."""
    full = ["450 4.2.2 full"] * 3
    order: list[str] = []

    def answer(line: str) -> str | None:
        order.append(line)
        return full.pop() if line.startswith("RCPT TO:<full@") and full else None

    with scripted(answer) as mail:
        one = sender(tmp_path, server(mail.port, retry_for_s=600.0, deferred_for_s=0.5))
        names = ["full", *(f"reader{row}" for row in range(20))]
        outcomes = by_name(one.deliver([letter(name, row) for row, name in enumerate(names)]))
        tries = [place for place, line in enumerate(order) if line.startswith("RCPT TO:<full@")]
        assert outcomes["full"].status == "failed"
        assert outcomes["full"].detail == "450 4.2.2 full; a later run sends to them"
        assert len(tries) in (2, 3)  # waits vary
        assert sum(line.startswith("content reader") for line in order[: tries[1]]) == 20
        later = by_name(one.deliver([letter(name, row) for row, name in enumerate(names[:2])]))
        one.close()
    assert (later["full"].status, later["reader0"].reason) == ("sent", "sent before")
    assert Counter(each.status for each in outcomes.values()) == {"sent": 20, "failed": 1}


def test_a_busy_server_is_waited_for(tmp_path: Path) -> None:
    """A server that takes no mail at all for a moment gets all of it afterwards, however short deferred_for_s is."""
    busy = ["452 4.3.1 no storage"] * 2 + ["421 4.3.2 restarting"]
    with scripted(lambda line: busy.pop() if line.startswith("MAIL") and busy else None) as mail:
        one = sender(tmp_path, server(mail.port, deferred_for_s=0.0))
        outcomes = one.deliver([letter(f"reader{row}", row) for row in range(5)])
        one.close()
    assert Counter(each.status for each in outcomes) == {"sent": 5}
    assert set(mail.kept.values()) == {1}


def test_a_server_that_wants_another_connection_gets_one(tmp_path: Path) -> None:
    """A server that takes two messages from each connection, and no third, gets the whole batch at once."""
    taken = [0]

    def answer(line: str) -> str | None:
        taken[0] = 0 if line.upper().startswith("EHLO") else taken[0] + line.startswith("MAIL")
        return "452 4.5.3 too many messages" if line.startswith("MAIL") and taken[0] > 2 else None

    with scripted(answer) as mail:
        one = sender(tmp_path, server(mail.port, retry_for_s=20.0))
        outcomes = one.deliver([letter(f"reader{row}", row) for row in range(5)])
        one.close()
    assert Counter(each.status for each in outcomes) == {"sent": 5}
    assert mail.count("EHLO") == 3


def test_a_slow_rate_outlasts_the_patience_of_the_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everybody gets the message also where the server ends each connection before the rate allows the next."""
    monkeypatch.setattr(connection, "_IDLE_S", 0.1)
    with running(MaildirHandler(tmp_path / "maildir"), timeout=0.1) as port:
        one = sender(tmp_path, server(port, max_per_second=2.0))
        outcomes = one.deliver([letter(f"reader{row}", row) for row in range(4)])
        one.close()
    assert Counter(each.status for each in outcomes) == {"sent": 4}
    assert set(recipients_of(tmp_path / "maildir").values()) == {1}


def test_one_recipient_who_ends_the_connection_does_not_stop_the_others(tmp_path: Path) -> None:
    """An address at which the server hangs up, each time, fails alone, and soon enough."""
    with scripted(lambda line: "" if line.startswith("RCPT TO:<poison@") else None) as mail:
        one = sender(tmp_path, server(mail.port, retry_for_s=600.0))
        outcomes = by_name(one.deliver([letter("poison", 1), letter("reader", 2)]))
        one.close()
    assert (outcomes["poison"].status, outcomes["reader"].status) == ("failed", "sent")
    assert mail.count("RCPT TO:<POISON") == 5


@pytest.mark.parametrize("said", ["Message accepted", "354 go on", "151 hm"])
def test_an_answer_that_makes_no_sense_is_not_asked_for_twice(said: str, tmp_path: Path) -> None:
    """After the content, what is no yes and no no leaves the recipient unknown: nobody gets two."""
    with scripted(lambda line: said if line.startswith("content odd@") else None) as mail:
        one = sender(tmp_path, server(mail.port))
        outcomes = by_name(one.deliver([letter("odd", 1), letter("reader", 2)]))
        again = by_name(one.deliver([letter("odd", 1)]))
        one.close()
    assert (outcomes["odd"].status, outcomes["odd"].reason) == ("unknown", "unreadable answer")
    assert (outcomes["reader"].status, again["odd"].status) == ("sent", "unknown")
    assert mail.kept == {"odd@post.example": 1, "reader@post.example": 1}


@pytest.mark.parametrize(
    ("verb", "said", "message"),
    [
        ("MAIL", "550 5.7.1 sender not allowed", "takes no mail from news@shop.example: 550 5.7.1 sender"),
        ("MAIL", "530 5.7.0 Authentication required", "wants a login or encryption first: 530"),
        ("RCPT", "530 5.7.0 Must issue a STARTTLS command first", "wants a login or encryption first: 530"),
    ],
)
def test_a_no_that_is_meant_for_all_refuses_nobody(
    verb: str, said: str, message: str, tmp_path: Path
) -> None:
    """A sender or a login that the server wants otherwise is a setting to change, said at the first message."""
    with scripted(lambda line: said if line.startswith(verb) else None) as mail:
        one = sender(tmp_path, server(mail.port))
        with pytest.raises(CampaignError, match=message):
            one.deliver([letter(f"reader{row}", row) for row in range(20)])
        one.close()
    assert mail.count(verb) == 1
    with scripted(lambda line: None) as mail:
        later = sender(tmp_path, server(mail.port))
        assert {each.status for each in later.deliver([letter("reader1")])} == {"sent"}
        later.close()


def test_who_has_been_sent_to_is_not_reported_as_failed(tmp_path: Path) -> None:
    """The sender is locked out after three messages: three are sent, the others failed with the server's words."""

    def answer(line: str) -> str | None:
        return "550 5.7.1 quota" if line.startswith("MAIL") and mail.kept.total() == 3 else None

    with scripted(answer) as mail:
        one = sender(tmp_path, server(mail.port))
        outcomes = one.deliver([letter(f"reader{row}", row) for row in range(10)])
        one.close()
    assert Counter((each.status, each.reason) for each in outcomes) == {
        ("sent", None): 3,
        ("failed", "stopped by an error"): 7,
    }
    assert {each.address for each in outcomes if each.status == "sent"} == set(mail.kept)
    assert all("550 5.7.1 quota" in str(each.detail) for each in outcomes if each.status == "failed")


def test_a_server_that_blocks_this_machine_is_not_waited_for(tmp_path: Path) -> None:
    """A greeting of 554 is said at once, in the server's words."""
    with scripted(lambda line: None, greeting="554 5.7.1 you are blocked") as mail:
        one = sender(tmp_path, server(mail.port, retry_for_s=600.0))
        with pytest.raises(CampaignError, match=r"rejects this machine: 554 5\.7\.1 you are blocked"):
            one.deliver([letter("reader1")])
        one.close()


def test_an_address_that_the_server_cannot_take(tmp_path: Path) -> None:
    """Without SMTPUTF8 a non-ASCII address is refused before the server sees it; the others get their mail."""
    with scripted(lambda line: None) as mail:
        one = sender(tmp_path, server(mail.port))
        outcomes = by_name(one.deliver([letter("jörg", 1, needs_utf8=True), letter("ada", 2)]))
        one.close()
    assert (outcomes["jörg"].status, outcomes["jörg"].reason) == ("refused", "server without SMTPUTF8")
    assert mail.kept == {"ada@post.example": 1}


def test_a_wrong_password_is_tried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many batches there are, a login that was refused is not tried again; no error holds the password."""
    monkeypatch.setenv("SMTP_PASSWORD", "battery staple")
    offers = ("AUTH PLAIN LOGIN CRAM-MD5",)
    wrong = "535 5.7.8 battery staple is wrong"
    with scripted(lambda line: wrong if line.startswith("AUTH") else None, offers=offers) as mail:
        for _ in range(3):
            with pytest.raises(CampaignError, match="refused the login of 'shop'") as refused:
                deliver_after_login(tmp_path, mail.port)
            assert "battery" not in str(refused.value)
        assert mail.count("AUTH") == 1
        monkeypatch.setenv("SMTP_PASSWORD", "another")
        with pytest.raises(CampaignError, match="with code 535"):
            deliver_after_login(tmp_path, mail.port)
        assert mail.count("AUTH") == 2


@pytest.mark.parametrize(
    ("password", "offers", "message"),
    [
        ("pässw0rd", "AUTH PLAIN LOGIN", "The password in SMTP_PASSWORD has a character outside ASCII"),
        ("secret", "AUTH XOAUTH2", "offers the login methods XOAUTH2, accepted: PLAIN, LOGIN, CRAM-MD5"),
        ("secret", "8BITMIME", "offers the login methods none, accepted: PLAIN"),
    ],
)
def test_a_login_that_cannot_be(
    password: str, offers: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What keeps a login from being tried is said at once, without a character of the password."""
    monkeypatch.setenv("SMTP_PASSWORD", password)
    with scripted(lambda line: None, offers=(offers,)) as mail:
        with pytest.raises(CampaignError, match=message) as refused:
            deliver_after_login(tmp_path, mail.port)
        assert mail.count("AUTH") == 0
    assert "ä" not in str(refused.value)
    assert refused.value.__cause__ is refused.value.__context__ is None


def test_a_server_behind_tls_that_is_away_is_waited_for(tmp_path: Path) -> None:
    """A load balancer that hangs up is an outage, not a certificate; a server without TLS is a setting."""

    class HangUp(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(4096)
            self.request.shutdown(socket.SHUT_RDWR)

    with socketserver.ThreadingTCPServer((HOST, 0), HangUp) as balancer:
        thread = threading.Thread(target=balancer.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        one = sender(tmp_path, server(balancer.server_address[1], security="tls", retry_for_s=0.5))
        (outcome,) = one.deliver([letter("reader1")])
        one.close()
        balancer.shutdown()
        thread.join(30)
    assert (outcome.status, outcome.reason) == ("failed", "server unreachable")
    with scripted(lambda line: None) as mail, pytest.raises(CampaignError, match="Check port and security"):
        deliver(tmp_path, server(mail.port, security="tls"), [letter("reader1")])


def test_what_is_accepted_is_in_the_ledger_before_the_batch_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A slow batch confirms as it goes: with the machine gone, too, nobody of its first half gets two."""
    monkeypatch.setattr(sending, "_CONFIRM_EVERY_S", 0.0)
    seen = threading.Event()

    def answer(line: str) -> str | None:
        if line == "content reader3@post.example":
            seen.wait(30)
        return None

    with scripted(answer) as mail:
        one = sender(tmp_path, server(mail.port))
        thread = threading.Thread(
            target=one.deliver, args=[[letter(f"reader{row}", row) for row in range(5)]]
        )
        thread.start()
        with Claims(tmp_path / "ledger.db") as claims:
            wait_until(lambda: len(claims.listing(state="confirmed")) == 3, "three are confirmed")
        seen.set()
        thread.join(30)
        one.close()


def test_the_rate_limit_is_kept(tmp_path: Path) -> None:
    """With max_per_second each message takes a place of its own, also of two senders at once."""
    with scripted(lambda line: None) as mail:
        senders = [sender(tmp_path, server(mail.port, max_per_second=50.0)) for _ in range(2)]
        letters = [[letter(f"reader{row}", row) for row in range(first, first + 10)] for first in (0, 10)]
        with ThreadPoolExecutor(2) as threads:
            delivered = list(threads.map(Sender.deliver, senders, letters))
        for one in senders:
            one.close()
    sent = [each.sent_at for some in delivered for each in some if each.sent_at is not None]
    assert len(sent) == 20
    assert max(sent) - min(sent) >= 19 / 50 * 0.9


@pytest.mark.parametrize("security", ["none", "starttls"])
@pytest.mark.parametrize(
    "said", ["421 4.7.0 Try again later, closing connection. (EHLO)", "450 4.7.1 bad name"]
)
def test_a_server_that_dislikes_the_name_is_quoted(security: str, said: str, tmp_path: Path) -> None:
    """A passing no to EHLO is no unreachable server: the reason is its code, and the words name local_hostname."""
    with scripted(lambda line: said if line[:4].upper() == "EHLO" else None) as mail:
        settings = server(mail.port, retry_for_s=0.3, security=security, local_hostname="mail.shop.example")
        (outcome,) = deliver(tmp_path, settings, [letter("reader1")])
    assert (outcome.status, outcome.reason) == ("failed", said[:9])
    assert said in str(outcome.detail)
    assert "(to EHLO mail.shop.example; if it is about that name, set local_hostname" in str(outcome.detail)
    assert {line for line in mail.lines if line.startswith("ehlo")} == {"ehlo mail.shop.example"}


@pytest.mark.parametrize("said", ["550 5.7.1 bad name", "504 5.5.2 <box>: need fully-qualified hostname"])
def test_a_server_that_never_takes_the_name(said: str, tmp_path: Path) -> None:
    """A final no to EHLO and HELO stops the run in the server's words."""
    refused = ("EHLO", "HELO")
    with (
        scripted(lambda line: said if line[:4].upper() in refused else None) as mail,
        pytest.raises(CampaignError, match=r"rejects this machine: 5.. 5.*set local_hostname of mail_server"),
    ):
        deliver(tmp_path, server(mail.port), [letter("reader1")])


def test_a_server_that_knows_no_ehlo_is_greeted_otherwise(tmp_path: Path) -> None:
    """An old server that does not know EHLO gets HELO and the mail."""
    with scripted(lambda line: "502 what?" if line[:4].upper() == "EHLO" else None) as mail:
        (outcome,) = deliver(tmp_path, server(mail.port), [letter("reader1")])
    assert outcome.status == "sent"


@pytest.mark.parametrize("name", ["", "my box", "bücher.example", "a\r\nMAIL FROM:<x@y.example>"])
def test_a_name_that_is_none_is_refused(name: str, tmp_path: Path) -> None:
    """A local_hostname that would be another command, or none, is refused before anything is sent."""
    with pytest.raises(CampaignError, match=r"has local_hostname .* accepted: a host name in ASCII"):
        deliver(tmp_path, server(25, local_hostname=name), [letter("reader1")])


@pytest.mark.parametrize("said", ["421 4.3.2 restarting", "452 4.3.1 no storage"])
def test_the_time_that_is_allowed_is_used_up(
    said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long the next pause would be, a server that was away is tried once more when retry_for_s ends."""
    monkeypatch.setattr(sending, "_FIRST_DELAY_S", 15.0)
    busy = [said]
    with scripted(lambda line: busy.pop() if line.startswith("MAIL") and busy else None) as mail:
        (outcome,) = deliver(tmp_path, server(mail.port, retry_for_s=0.5), [letter("reader1")])
    assert outcome.status == "sent"
