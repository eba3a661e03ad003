"""Claims: of many who want a side effect, one gets it, and nobody who is killed lets it happen twice."""

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from project_fanout.engine.errors import LedgerError
from project_fanout.engine.ledger import Claims, Ledger
from project_fanout_tests.engine.ledger.support import locked
from project_fanout_tests.processes import run_python, start
from project_fanout_tests.waiting import wait_until


@pytest.fixture
def claims(ledger_url: str) -> Iterator[Claims]:
    """No claims yet, on each database."""
    with Claims(ledger_url) as claims:
        yield claims


def test_only_the_first_gets_the_claim(claims: Claims) -> None:
    """A second run does not have the effect again: it learns that it happened, or that nobody knows."""
    assert claims.claim("mail", ["a", "b", "a"], "run-1") == {"a": "claimed", "b": "claimed"}
    claims.confirm("mail", {"a": {"id": 7}}, "run-1")
    answers = claims.claim("mail", ["a", "b", "c"], "run-2")
    assert answers == {"a": "confirmed", "b": "unknown", "c": "claimed"}
    # Also the run that made the claim: it may have been killed after the effect.
    assert claims.claim("mail", ["b"], "run-1") == {"b": "unknown"}
    assert claims.claim("another campaign", ["a"], "run-2") == {"a": "claimed"}
    assert claims.claim("mail", [], "run-2") == {}


def test_a_refusal_before_the_effect_gives_the_claim_back(claims: Claims) -> None:
    """What has certainly not happened may be claimed again; what has been confirmed may not."""
    claims.claim("mail", ["a", "b", "c"], "run-1")
    claims.confirm("mail", {"a": None}, "run-1")
    assert claims.release("mail", ["b", "a", "missing"], run_id="run-2") == 0
    assert claims.release("mail", ["b", "a", "missing"], run_id="run-1") == 1
    answers = claims.claim("mail", ["a", "b", "c", "d"], "run-2")
    assert answers == {"a": "confirmed", "b": "claimed", "c": "unknown", "d": "claimed"}
    # A late answer of the first run takes nothing from the second.
    assert claims.release("mail", ["b"], run_id="run-1") == 0
    assert claims.release("mail", ["c"]) == 1


def test_a_claim_is_taken_back_only_as_it_was_found(claims: Claims) -> None:
    """Who takes back what a dead run has left takes nothing from a living one that was quicker."""
    claims.claim("mail", ["a", "b", "c"], "run-1")
    found = claims.find("mail", ["a", "b", "c", "missing"])
    assert {key: claim.run_id for key, claim in found.items()} == dict.fromkeys("abc", "run-1")
    claims.release("mail", ["a", "b"], run_id="run-1")
    claims.claim("mail", ["a"], "run-2")
    claims.claim("mail", ["b"], "run-1")
    assert claims.take_back(found.values()) == 1
    assert claims.claim("mail", ["a", "b", "c"], "run-3") == {"a": "unknown", "b": "unknown", "c": "claimed"}
    assert claims.take_back([]) == 0


def test_a_confirmation_stands(claims: Claims) -> None:
    """What happened has happened, also when somebody released the claim, or removed it, or confirms again."""
    claims.claim("mail", ["a", "b"], "run-1")
    claims.release("mail", ["a"])
    claims.confirm("mail", {"a": "first", "never claimed": [1]}, "run-1")
    claims.confirm("mail", {"a": "second"}, "run-2")
    listed = {claim.key: (claim.state, claim.run_id, claim.detail) for claim in claims.listing("mail")}
    assert listed == {
        "a": ("confirmed", "run-1", "first"),
        "b": ("claimed", "run-1", None),
        "never claimed": ("confirmed", "run-1", [1]),
    }
    assert [claim.key for claim in claims.listing("mail", state="claimed")] == ["b"]
    assert claims.listing("none") == []
    assert len(claims.listing(limit=2)) == 2


def test_any_text_is_a_claim(claims: Claims) -> None:
    """Namespaces and keys may be called anything."""
    for text in ("nul \0", "😀" * 200, "' \\ %s", "Ж"):
        assert claims.claim(text, [text], text) == {text: "claimed"}
        claims.confirm(text, {text: {text: text}}, text)
        (claim,) = claims.listing(text)
        assert (claim.namespace, claim.key, claim.run_id, claim.detail) == (text, text, text, {text: text})


def test_a_detail_that_is_not_json_confirms_nothing(claims: Claims) -> None:
    """A detail that cannot be kept is refused by name, before anything is noted."""
    with pytest.raises(LedgerError, match=r"The confirmation of 'b' in 'mail': detail\['x'\] is a set"):
        claims.confirm("mail", {"a": None, "b": {"x": {1}}}, "run-1")
    assert claims.listing() == []


def test_pruning_keeps_what_nobody_knows(claims: Claims) -> None:
    """Unconfirmed claims go only when told so, and only those of the namespace and time named."""
    claims.claim("mail", ["a", "b", "c"], "run-1")
    claims.claim("other", ["a"], "run-1")
    claims.confirm("mail", {"a": None}, "run-1")
    claims.release("mail", ["b"])
    later = max(claim.claimed_at for claim in claims.listing()) + 1
    assert claims.prune("mail", claimed_before=0) == 0
    assert claims.prune("mail", claimed_before=later) == 2
    assert {(claim.namespace, claim.key) for claim in claims.listing()} == {("mail", "c"), ("other", "a")}
    assert claims.prune("mail", claimed_before=later, unconfirmed=True) == 1


CLAIM_ALL = """
import random, sys
from pathlib import Path
from project_fanout.engine.ledger import Claims
from project_fanout_tests.waiting import wait_until
claims = Claims(sys.argv[1])
keys = [f"recipient {number}" for number in range(600)]
random.Random(sys.argv[2]).shuffle(keys)
Path(sys.argv[3], sys.argv[2]).touch()
wait_until(Path(sys.argv[3], "go").exists, "all may begin")
won = []
for start in range(0, len(keys), 50):
    answers = claims.claim("mail", keys[start : start + 50], sys.argv[2])
    mine = [key for key, answer in answers.items() if answer == "claimed"]
    claims.confirm("mail", dict.fromkeys(mine), sys.argv[2])
    won += mine
Path(sys.argv[3], f"won by {sys.argv[2]}").write_text("\\n".join(won))
"""


def test_many_processes_share_out_the_claims(ledger_url: str, tmp_path: Path) -> None:
    """Pool workers that want the same 600 effects in different orders: each effect goes to exactly one."""
    folder = tmp_path / "workers"
    folder.mkdir()
    workers = [
        start("-c", CLAIM_ALL, ledger_url, str(number), str(folder), home=tmp_path) for number in range(4)
    ]
    wait_until(lambda: len(list(folder.iterdir())) == 4, "all are there", 60)
    (folder / "go").touch()
    assert [worker.wait(120) for worker in workers] == [0, 0, 0, 0]
    outputs = [(folder / f"won by {number}").read_text() for number in range(4)]
    won = Counter(key for output in outputs for key in output.split("\n") if key)
    assert won == Counter(f"recipient {number}" for number in range(600))
    with Claims(ledger_url) as claims:
        assert {claim.state for claim in claims.listing("mail")} == {"confirmed"}


DIE_HOLDING = """
import os, signal, sys
from project_fanout.engine.ledger import Claims
claims = Claims(sys.argv[1])
claims.claim("mail", ["a", "b"], "run-1")
claims.confirm("mail", {"a": None}, "run-1")
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_worker_leaves_its_claims(ledger_url: str, tmp_path: Path) -> None:
    """Claims and confirmations are on disk when the call returns: kill -9 right after loses none."""
    done = run_python("-c", DIE_HOLDING, ledger_url, home=tmp_path)
    assert done.returncode == -9
    with Claims(ledger_url) as claims:
        assert claims.claim("mail", ["a", "b"], "run-2") == {"a": "confirmed", "b": "unknown"}


def test_threads_that_release_and_claim_again(claims: Claims) -> None:
    """A released claim, too, goes to one of those who want it."""
    claims.claim("mail", ["a"], "first")
    with ThreadPoolExecutor(4) as threads:
        for turn in range(10):
            assert claims.release("mail", ["a"]) == 1
            wanted = [f"{turn} {number}" for number in range(4)]
            answers = list(threads.map(lambda run_id: claims.claim("mail", ["a"], run_id)["a"], wanted))
            assert sorted(answers) == ["claimed", "unknown", "unknown", "unknown"]


def test_a_database_that_stays_locked_claims_nothing(tmp_path: Path) -> None:
    """Without a claim on disk there is no answer, so that nothing is sent."""
    path = tmp_path / "ledger.db"
    with Claims(path, lock_timeout_s=0.2) as claims:
        with locked(path), pytest.raises(LedgerError, match="locked"):
            claims.claim("mail", ["a"], "run-1")
        assert claims.claim("mail", ["a"], "run-1") == {"a": "claimed"}


def test_claims_and_outcomes_share_a_database(tmp_path: Path) -> None:
    """One file holds both, whichever is made first."""
    path = tmp_path / "ledger.db"
    with Ledger(path) as ledger, Claims(path, create=False) as claims:
        assert claims.claim("mail", ["a"], "run-1") == {"a": "claimed"}
        assert ledger.scopes() == []
