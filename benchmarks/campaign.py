"""Send a campaign to the mail sink, and compare its rate with a plain smtplib loop.

The loop has as many connections as the campaign has workers, one process each, and the same sink; it
sends messages of the same size that are ready before the clock starts. It takes turns with the campaign,
before and after it. The campaign's rate is that of its messages, from the first to the last; "whole run"
counts everything from the start of the process, with the list of recipients, the steps and the report.
Peak memory is the largest sum of the proportional set sizes (PSS) of the run's process and its workers.

    python benchmarks/campaign.py --recipients 100000
"""

import argparse
import json
import multiprocessing
import os
import resource
import smtplib
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from datetime import datetime, timezone
from email import message_from_bytes
from email.policy import default
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from project_fanout.campaigns.message import Composer, Letter
from project_fanout.campaigns.recipients import build_list, read_rows
from project_fanout.campaigns.settings import Message
from project_fanout.campaigns.sink import HOST, Sink
from project_fanout.engine import available_cpus

ROOT = Path(__file__).resolve().parent.parent
PLAIN = "From the plain loop, as long as the others"


def plain_loop(port: int, messages: list[tuple[str, bytes]]) -> None:
    with smtplib.SMTP(HOST, port) as smtp:
        for address, content in messages:
            smtp.sendmail("news@shop.example", [address], content)


def processor_seconds(pid: int | None = None) -> float:
    """Return the processor time of *pid*, or of all processes that have been waited for."""
    if pid is None:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def plain_letters(count: int, folder: Path) -> list[Letter]:
    composer, now = Composer("plain", Message(subject=PLAIN)), datetime.now(timezone.utc)
    people = build_list(folder, generated=count)
    return [composer.compose(each, now) for each in read_rows(people.path, people.all)]


def plain_rate(port: int, letters: list[Letter], connections: int) -> float:
    """Return messages a second of a plain loop over *connections* processes."""
    messages = [(letter.address, letter.content.encode()) for letter in letters]
    context = multiprocessing.get_context("fork")
    loops = [
        context.Process(target=plain_loop, args=(port, messages[each::connections]))
        for each in range(connections)
    ]
    started = time.perf_counter()
    for loop in loops:
        loop.start()
    for loop in loops:
        loop.join()
    return len(letters) / (time.perf_counter() - started)


def descendants(pid: int) -> list[int]:
    found = [pid]
    for child in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += [each for text in child.read_text().split() for each in descendants(int(text))]
        except (OSError, ValueError):
            continue
    return found


def pss_mb(pid: int) -> float:
    total = 0
    for each in descendants(pid):
        try:
            text = Path(f"/proc/{each}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in text.splitlines() if line.startswith("Pss:")), 0)
    return total / 1024


def run_campaign(port: int, count: int, folder: Path) -> dict[str, Any]:
    """Run the assets under fanout_executor in a process of their own; return its figures."""
    params = {
        "campaign": "bench",
        "output_dir": str(folder),
        "deliver": True,
    }
    settings = {
        "ops": {
            "recipients": {"config": {"generated": count, "output_dir": str(folder)}},
            "campaign_delivery": {"config": {"params": params}},
            "campaign_report": {"config": {"output_dir": str(folder)}},
        },
        "resources": {"mail_server": {"config": {"host": HOST, "port": port, "security": "none"}}},
    }
    home = folder / "home"
    home.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, "DAGSTER_HOME": str(home), "PYTHONPATH": str(ROOT)}
    (home / "dagster.yaml").write_text((ROOT / "dagster_home.yaml").read_text())
    config = folder / "run.yaml"
    config.write_text(json.dumps(settings))
    started = time.perf_counter()
    command = [
        "dagster",
        "job",
        "execute",
        "-m",
        "project_fanout.definitions",
        "-j",
        "campaign_job",
        "-c",
        str(config),
    ]
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        env=environment,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=(folder / "log").open("w"),
    )
    peak, done = [0.0], threading.Event()

    def watch() -> None:
        while not done.wait(0.5):
            peak[0] = max(peak[0], pss_mb(process.pid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    code = process.wait()
    done.set()
    watcher.join()
    if code:
        raise SystemExit((folder / "log").read_text()[-4000:])
    whole = time.perf_counter() - started
    return {"whole": whole, "peak": peak[0]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipients", type=int, default=100_000)
    parser.add_argument("--plain", type=int, default=5_000, help="messages of each plain loop")
    parser.add_argument("--connections", type=int, default=available_cpus())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=os.environ.get("TMPDIR")) as name:
        folder = Path(name)
        sink = Sink(folder / "maildir")
        letters = plain_letters(options.plain, folder)
        marks = [(processor_seconds(), processor_seconds(sink.pid))]
        before = plain_rate(sink.port, letters, options.connections)
        marks.append((processor_seconds(), processor_seconds(sink.pid)))
        figures = run_campaign(sink.port, options.recipients, folder / "campaign")
        marks.append((processor_seconds(), processor_seconds(sink.pid)))
        after = plain_rate(sink.port, letters, options.connections)
        sink.close()
        ids: Counter[str] = Counter()
        people: Counter[str] = Counter()
        times = []
        for path in (folder / "maildir" / "new").iterdir():
            message = message_from_bytes(path.read_bytes(), policy=default)
            assert not any(part.defects for part in message.walk()), path
            assert [part.get_content_type() for part in message.iter_parts()] == ["text/plain", "text/html"]
            if message["Subject"] == PLAIN:
                continue
            ids[message["Message-ID"]] += 1
            people[message["Delivered-To"]] += 1
            times.append(int(path.name.split(".")[0]) / 1e9)
        rate = len(times) / (max(times) - min(times))
        plain = (before + after) / 2
        print(f"{options.recipients:,} recipients, {options.connections} connections")
        print(f"messages in the Maildir, each parsed: {len(times):,}; recipients: {len(people):,}")
        print(
            f"most messages of one recipient: {max(people.values())}; of one Message-ID: {max(ids.values())}"
        )
        print(f"plain smtplib loop: {before:,.0f} and {after:,.0f} a second")
        print(f"campaign: {rate:,.0f} a second, {rate / plain:.2f} of the loop")
        print(f"whole run: {figures['whole']:.1f} s, {options.recipients / figures['whole']:,.0f} a second")
        counts = (options.plain, options.recipients)
        names = ("loop", "campaign, whole run")
        for name, count, (start, sink_start), (end, sink_end) in zip(
            names, counts, marks[:2], marks[1:], strict=True
        ):
            own, sinks = (1000 * each / count for each in (end - start, sink_end - sink_start))
            print(f"processor time a message: {name} {own:.2f} ms, and its sink {sinks:.2f} ms")
        print(f"peak memory of the run and its workers: {figures['peak']:.0f} MB")


if __name__ == "__main__":
    main()
