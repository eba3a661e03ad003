"""The report of a run as one HTML file, which needs no server, no network and no other file."""

import json
import zlib
from base64 import b64encode
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any


def page_html(report: Mapping[str, Any]) -> str:
    """Return the page of *report*; it is drawn by the script in the page, from the report inside it.

    Args:
        report: "asset", "partition", "run"; "runs", ids of which the first is this run's and the others are those
            whose results were reused; "began" and "ended" in seconds since 1970; "is_over"; "workers"; "places",
            units that can run at once; "found", units known in all; "records", "stages", "statuses", "errors",
            texts to which the units refer by index; "units", a mapping of columns that are equally long, one entry
            a unit: "record", "stage", "status", "error", "run" (indexes), "key", "attempts", "start" (seconds after
            "began") and "last" (seconds) of the last attempt, "seconds" of all, "cpu" (seconds), "mb", "worker",
            where null is what is not known; "details", by the row of the unit as text, of some units: "input",
            "result", "log" (lines) and "attempts".

    Raises:
        ValueError: a number is NaN or infinite, which the page could not read.
    """
    template = (files("project_fanout.report") / "page.html").read_text(encoding="utf-8")
    packed = zlib.compress(json.dumps(report, allow_nan=False, separators=(",", ":")).encode("ascii"))
    title = " - ".join(filter(None, (report["asset"], report["partition"], report["run"][:8])))
    # The data first: base64 has no `*`, whereas a title may hold any placeholder. In ASCII a lone surrogate is
    # no more than a reference, and the page can be written to a file.
    page = template.replace("/*DATA*/", b64encode(packed).decode("ascii"), 1)
    return page.replace("/*TITLE*/", escape(title).encode("ascii", "xmlcharrefreplace").decode("ascii"), 1)
