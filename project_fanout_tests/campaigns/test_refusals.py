"""Whom a server's refusal is charged to: a recipient, or the sender of all."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from project_fanout.campaigns.assets import job_request
from project_fanout.campaigns.delivery import Delivery
from project_fanout.campaigns.errors import CampaignError
from project_fanout.engine.ledger import Claims
from project_fanout.orchestration import fanout_executor
from project_fanout_tests.campaigns import campaign_jobs
from project_fanout_tests.campaigns.servers import RefusingHandler, running
from project_fanout_tests.campaigns.test_sending import by_name, letter, sender, server
from project_fanout_tests.instances import local_instance

RELAY = "554 5.7.1 <{address}>: Relay access denied"
CLIENT = "554 5.7.1 <unknown[192.0.2.1]>: Client host rejected: Access denied"
SENDER = "553 5.7.1 <news@shop.example>: Sender address rejected: not owned by user shop"
QUOTA = "550 5.4.5 Daily user sending limit exceeded"
MEMBERS = "550 5.7.1 <{address}>: only members may write to this list"

LETTERS = [letter(f"reader{row}", row) for row in range(24)]
#: Who is odd where one is: first, in between, last.
PLACES = (0, 11, 23)

# What a server says, whose fault it is where all are answered so, and where one is among others who are accepted.
ANSWERS = [
    (RELAY, "sender", "recipient"),
    (CLIENT, "sender", "recipient"),
    (SENDER, "sender", "recipient"),
    (QUOTA, "sender", "sender"),
    ("550 5.1.8 <news@shop.example>: Sender address rejected: Domain not found", "sender", "sender"),
    ("553 5.1.7 the sender's address is no address", "sender", "sender"),
    ("550 5.7.25 the client has no reverse DNS", "sender", "sender"),
    ("550 5.7.26 unauthenticated mail from shop.example is not accepted", "sender", "sender"),
    ("550-5.7.27 the sender's domain\r\n550 5.7.27 takes no mail", "sender", "sender"),
    ("535 5.7.8 authentication failed", "sender", "sender"),
    ("550 5.7.60 SMTP; Client does not have permissions to send as this sender", "sender", "sender"),
    ("550 5.7.705 Access denied, tenant has exceeded threshold", "sender", "sender"),
    ("530 5.7.0 Authentication required", "sender", "sender"),
    ("554 5.3.2 system not accepting network messages", "sender", "recipient"),
    ("503 5.5.1 Error: need HELO", "sender", "recipient"),
    ("554 5.6.0 content rejected", "sender", "recipient"),
    ("553 sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)", "sender", "recipient"),
    ("550 relay not permitted", "sender", "recipient"),
    ("554 no", "sender", "recipient"),
    ("550 5.1.1 <{address}>: Recipient address rejected: User unknown", "sender", "recipient"),
    ("550 #5.1.0 Address rejected", "sender", "recipient"),
    ("552 5.2.2 mailbox full", "sender", "recipient"),
    ("450 4.7.1 <{address}>: Client host rejected", "deferred", "deferred"),
    ("452 4.2.2 mailbox full", "deferred", "deferred"),
    ("451 try later", "deferred", "deferred"),
]


@dataclass
class Refusing:
    """An aiosmtpd server that refuses: its port and its handler."""

    port: int
    handler: RefusingHandler

    @property
    def accepted(self) -> Counter[str]:
        return self.handler.accepted

    def count(self, verb: str) -> int:
        return self.handler.commands[verb]


@contextmanager
def refusing(
    phase: str, said: str, who: Callable[[str, Counter[str]], bool]
) -> Iterator[tuple[Refusing, list[bool]]]:
    """Serve, and say *said* at *phase* to those for whom *who* says so until the second value given is emptied.

    *who* is given the address and how many messages each has had accepted.
    """
    ill = [True]

    def answer(verb: str, address: str) -> str | None:
        if verb == "MAIL":
            # Who it is for is said later: the letters come in order.
            address = LETTERS[min(handler.commands["MAIL"], 24) - 1].address
        refused = verb == phase and ill and who(address, handler.accepted)
        return said.replace("{address}", address) if refused else None

    handler = RefusingHandler(answer)
    with running(handler) as port:
        yield Refusing(port, handler), ill


def outcomes_of(folder: Path, port: int, **settings: Any) -> tuple[list[Delivery], CampaignError | None]:
    """Return what became of LETTERS, and what stopped them."""
    with closing(sender(folder, server(port, deferred_for_s=0.0, retry_for_s=0.0, **settings))) as one:
        try:
            return one.deliver(LETTERS), one.stopped
        except CampaignError as error:
            return [], error


@pytest.fixture(scope="module")
def new_ledger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty ledger to copy: to make one takes a quarter of the time of a case."""
    path = tmp_path_factory.mktemp("ledger") / "ledger.db"
    Claims(path).close()
    return path


@pytest.mark.parametrize("phase", ["MAIL", "RCPT", "DATA", "content"])
@pytest.mark.parametrize(("said", "of_all", "of_one"), ANSWERS)
def test_who_is_charged(
    phase: str, said: str, of_all: str, of_one: str, tmp_path: Path, new_ledger: Path
) -> None:
    """Code, phase and company decide: the sender's refusal marks nobody, the recipient's that one, and none is lost."""
    if phase == "MAIL" and of_all != "deferred":
        of_one = "sender"  # The command is the same for everybody.
    for number, (place, charged) in enumerate([(None, of_all), *((place, of_one) for place in PLACES)]):
        odd = {each.address for each in LETTERS} if place is None else {LETTERS[place].address}
        folder = tmp_path / str(number)
        folder.mkdir()
        shutil.copy(new_ledger, folder)
        with refusing(phase, said, lambda address, _, odd=odd: address in odd) as (mail, ill):
            found, error = outcomes_of(folder, mail.port)
            status = {each.address: each.status for each in found}
            words = said.splitlines()[-1].partition(" ")[2].partition("{")[0]
            if charged == "sender":
                assert error is not None
                assert words in str(error)
                assert "refused" not in status.values()
                assert mail.count("MAIL") <= (place or 0) + 10
            elif charged == "recipient":
                assert error is None
                assert {address for address, each in status.items() if each == "refused"} == odd
                assert set(status.values()) == {"sent", "refused"}
            else:
                assert error is None
                assert set(status.values()) <= {"sent", "failed"}
                assert {address for address, each in status.items() if each == "failed"} >= odd
            ill.clear()
            later, error = outcomes_of(folder, mail.port)
            assert error is None
            assert {each.status for each in later} == {"sent"}
            assert set(mail.accepted.values()) == {1}
            assert len(mail.accepted) == len(LETTERS)


def test_a_server_that_changes_its_mind_about_the_sender(tmp_path: Path) -> None:
    """A block in the middle of a batch, said as for one recipient, stops it; who got the mail before is sent."""
    with refusing("RCPT", CLIENT, lambda _, accepted: accepted.total() >= 5) as (mail, ill):
        found, error = outcomes_of(tmp_path, mail.port)
        assert "Client host rejected" in str(error)
        assert Counter(each.status for each in found) == {"sent": 5, "failed": 19}
        assert mail.count("RCPT") == 15
        ill.clear()
        assert {each.status for each in outcomes_of(tmp_path, mail.port)[0]} == {"sent"}
        assert set(mail.accepted.values()) == {1}


def test_refusals_add_up_over_small_batches(tmp_path: Path) -> None:
    """Batches of three never have many refused alike; the tenth of all stops it, and nobody is marked refused."""
    with refusing("RCPT", "550 relay not permitted", lambda *_: True) as (mail, _):
        one = sender(tmp_path, server(mail.port))
        for first in range(0, 9, 3):
            assert {each.status for each in one.deliver(LETTERS[first : first + 3])} == {"failed"}
        for first in range(9, 24, 3):
            with pytest.raises(CampaignError, match="take them off the list"):
                one.deliver(LETTERS[first : first + 3])
        one.close()
        assert mail.count("RCPT") == 9 + 5, "one more for each batch"


@pytest.mark.parametrize("phase", ["RCPT", "content"])
@pytest.mark.parametrize("said", ["550 Daily message limit exceeded", "554 5.4.0 rejected by policy", CLIENT])
def test_a_quota_that_is_spent_on_the_way(phase: str, said: str, tmp_path: Path) -> None:
    """A server that takes 40 messages and then refuses all with a code that says nothing marks nobody refused."""
    letters = [letter(f"reader{row}", row) for row in range(120)]
    found: list[Delivery] = []
    with refusing(phase, said, lambda _, accepted: accepted.total() >= 40) as (mail, ill):
        with closing(sender(tmp_path, server(mail.port))) as one, suppress(CampaignError):
            for first in range(0, 120, 8):
                found += one.deliver(letters[first : first + 8])
        assert Counter(each.status for each in found)["sent"] == 40
        assert {each.status for each in found} <= {"sent", "failed"}
        assert mail.count("RCPT") <= 40 + 25
        ill.clear()
        with closing(sender(tmp_path, server(mail.port))) as one:
            assert {each.status for each in one.deliver(letters)} == {"sent"}
        assert set(mail.accepted.values()) == {1}
        assert len(mail.accepted) == 120


def test_a_few_who_are_all_refused_as_a_sender_is(tmp_path: Path) -> None:
    """Also of two recipients none is marked refused where the server may mean the sender and accepts nobody."""
    with (
        refusing("RCPT", RELAY, lambda *_: True) as (mail, _),
        closing(sender(tmp_path, server(mail.port))) as one,
        pytest.raises(CampaignError, match=r"has accepted nobody yet.*Relay access denied"),
    ):
        one.deliver(LETTERS[:2])


def test_one_dead_address_alone_is_refused(tmp_path: Path) -> None:
    """A code that is about a mailbox needs no company."""
    dead = "550 5.1.1 no such user"
    with (
        refusing("RCPT", dead, lambda *_: True) as (mail, _),
        closing(sender(tmp_path, server(mail.port))) as one,
    ):
        assert [each.status for each in one.deliver(LETTERS[:1])] == ["refused"]


def test_a_later_run_meets_the_dead_addresses_alone(tmp_path: Path) -> None:
    """Where all others have got the mail, twelve dead addresses in a row stop nothing, and a new one is sent to."""
    dead = {each.address for each in LETTERS[10:22]}
    with refusing("RCPT", "550 5.1.1 no such user", lambda address, _: address in dead) as (mail, _):
        for letters in (LETTERS[:23], LETTERS):
            with closing(sender(tmp_path, server(mail.port))) as one:
                found = by_name(one.deliver(letters))
                assert one.stopped is None
                assert Counter(each.status for each in found.values())["refused"] == 12
        assert found["reader23"].reason is None
        assert found["reader23"].status == "sent"


def test_the_senders_of_one_run_know_what_the_others_have_met(tmp_path: Path) -> None:
    """A server that has refused the sender is not asked again by the run, by whatever worker; another run asks."""
    with refusing("RCPT", RELAY, lambda *_: True) as (mail, ill):
        assert "Relay access denied" in str(outcomes_of(tmp_path, mail.port, run="one")[1])
        asked = mail.count("MAIL")
        assert "Relay access denied" in str(outcomes_of(tmp_path, mail.port, run="one")[1])
        assert mail.count("MAIL") == asked
        ill.clear()
        assert {each.status for each in outcomes_of(tmp_path, mail.port, run="another")[0]} == {"sent"}


def test_somebody_accepted_by_another_worker_counts(tmp_path: Path) -> None:
    """A worker whose first twelve addresses are dead does not stop a run in which others are accepted."""
    dead = {each.address for each in LETTERS[:12]}
    with refusing("RCPT", "550 no such user", lambda address, _: address in dead) as (mail, _):
        settings = server(mail.port, run="one")
        with closing(sender(tmp_path, settings)) as one, closing(sender(tmp_path, settings)) as other:
            assert [each.status for each in one.deliver([letter("somebody")])] == ["sent"]
            assert Counter(each.status for each in other.deliver(LETTERS[:13])) == {"refused": 12, "sent": 1}


@pytest.fixture(scope="module")
def instance(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dg.DagsterInstance]:
    with local_instance(tmp_path_factory.mktemp("home")) as found:
        yield found


def mail_server(port: int) -> dict[str, Any]:
    return {"config": {"host": "127.0.0.1", "port": port, "security": "none", "retry_for_s": 1.0}}


def failed_with(result: Any) -> str:
    """Return why the run failed."""
    assert not result.success
    return "\n".join(
        str(event.step_failure_data.error)
        for event in result.filter_events(lambda each: each.is_step_failure)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("phase", "said", "accepted", "batch_size", "pool"),
    [
        ("RCPT", RELAY, 0, 100, "inline"),
        ("RCPT", CLIENT, 0, 7, "process"),
        ("RCPT", SENDER, 40, 20, "inline"),
        ("content", QUOTA, 116, 4, "process"),
    ],
)
def test_a_run_whose_sender_is_refused_fails_and_a_later_one_sends(
    phase: str,
    said: str,
    accepted: int,
    batch_size: int,
    pool: str,
    instance: dg.DagsterInstance,
    tmp_path: Path,
) -> None:
    """Of 120 recipients none is refused; the run fails with the server's words, also for the last four; one mail each.

    The server is asked a few dozen times. *Re-execute from failure* sends to those who are left.
    """
    config = campaign_jobs.config(tmp_path, generated=120, deliver=True, page_size=60, batch_size=batch_size)
    with refusing(phase, said, lambda _, kept: kept.total() >= accepted) as (mail, ill):
        config["resources"] = {
            "mail_server": mail_server(mail.port),
            "unit_pool": {"config": {"kind": pool}},
        }
        job = campaign_jobs.reconstructable("whole")
        with dg.execute_job(job, instance, run_config=config) as first:
            why = failed_with(first)
        assert said.partition("{")[0].partition(" ")[2] in why
        assert "from failure" in why
        # Two of thirty batches are fewer than may fail for other reasons.
        assert ("does not materialise" in why) == (accepted == 116)
        assert mail.count("RCPT") <= accepted + 2 * 10 + 2
        assert not [
            event
            for event in first.all_events
            if event.is_step_materialization and event.asset_key.path[0] == "campaign_delivery"
        ]
        ill.clear()
        again = dg.ReexecutionOptions.from_failure(first.run_id, instance)
        with dg.execute_job(job, instance, reexecution_options=again, run_config=config) as second:
            assert second.success
        assert set(mail.accepted.values()) == {1}
        assert len(mail.accepted) == 120


request_defs = dg.Definitions(
    [job_request], jobs=[dg.define_asset_job("request", [job_request])], executor=fanout_executor
)


def request_job(name: str) -> dg.JobDefinition:
    """Return the job *name*, for `dagster.reconstructable`."""
    return request_defs.resolve_job_def(name)


def test_a_job_request_whose_sender_is_refused_fails(instance: dg.DagsterInstance, tmp_path: Path) -> None:
    """In a job request, too, the run fails in the server's words, and the next one sends."""
    rows = "\n".join(f"reader{row}@post.example,R {row},Bonn" for row in range(120))
    (tmp_path / "42.csv").write_text(f"email,name,city\n{rows}\n")
    payload = {
        "campaign": 99,
        "target_list": 42,
        "source": str(tmp_path / "{target_list}.csv"),
        "page_size": 10,
        "deliver": True,
        "output_dir": str(tmp_path),
    }
    request = {
        "action_chain": ["prepare_recipients", "send_emails"],
        "payload": payload,
        "fanout": "range(1, 12)",
    }
    with refusing("RCPT", RELAY, lambda *_: True) as (mail, ill):
        config = {
            "ops": {"job_request": {"config": request}},
            "resources": {"mail_server": mail_server(mail.port)},
        }
        job = dg.build_reconstructable_job(__name__, "request_job", ("request",))
        with dg.execute_job(job, instance, run_config=config) as first:
            assert "Relay access denied" in failed_with(first)
        assert mail.count("RCPT") <= 2 * 10 + 2
        ill.clear()
        with dg.execute_job(job, instance, run_config=config) as second:
            assert second.success
        assert set(mail.accepted.values()) == {1}
        assert len(mail.accepted) == 120
