"""The examples of coroutines, batches and set-ups in README and docs/units.md run as they stand."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from project_fanout_tests.pages import page, written
from project_fanout_tests.processes import run_python

RUN = """
import json, sys
import dagster as dg
from {module} import {asset}

params = json.loads(sys.argv[1])
config = {{"ops": {{"{asset}": {{"config": {{"params": params, "policy": {{"max_failed_ratio": 0.1}}}}}}}}}}
table = dg.materialize_to_memory([{asset}], run_config=config).output_for_node("{asset}")
print(table["status"].value_counts().to_dict(), sorted(set(table["attempts"])))
print(table["error"].dropna().tolist())
print(float(table["{column}"].dropna().map(sum if "{column}" == "result" else float).sum()))
"""


@pytest.fixture
def site() -> Iterator[str]:
    """A site whose pages are their own addresses; one is empty, and the first to come is asked to come back."""
    asked: list[str] = []

    class Pages(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = b"" if self.path == "/1/1" else f"eat{self.path}!".encode()
            self.send_response(429 if len(asked) == 1 else 200)
            self.send_header("Retry-After", "0.1")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Pages) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("text", "module", "asset", "column", "params", "said"),
    [
        (
            "docs/units.md",
            "page_embeddings",
            "page_embeddings",
            "result",
            {"books": 2, "path": "m.npy"},
            ["{'succeeded': 39, 'failed': 1} [1]", "['UnitFailure: the page is empty']", "117.0"],
        ),
        (
            "README.md",
            "review_assets",
            "review_scores",
            "score",
            {"shops": 1, "path": "w.npy"},
            ["{'succeeded': 10} [1]", "[]", "90.0"],
        ),
    ],
)
def test_the_examples_run(
    tmp_path: Path,
    site: str,
    text: str,
    module: str,
    asset: str,
    column: str,
    params: dict[str, object],
    said: list[str],
) -> None:
    """From a site that asks for patience, through a model that each worker loads once."""
    written(page(text), tmp_path)
    np.save(tmp_path / "m.npy", np.eye(6)[:, :3])  # counts of e, t and a
    np.save(tmp_path / "w.npy", np.array([1.0, 1.0]))
    code = RUN.format(module=module, asset=asset, column=column)
    run = run_python("-c", code, json.dumps({"site": site, **params}), home=tmp_path, folder=tmp_path)
    assert run.returncode == 0, run.stderr[-3000:]
    assert run.stdout.splitlines()[-3:] == said
