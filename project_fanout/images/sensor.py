"""The sensor that renders photographs when their folder changes."""

import hashlib
import json
import os
import time
from collections.abc import Collection, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import dagster as dg

from project_fanout.images.folders import READ_SUFFIXES, UNREAD_SUFFIXES, key_of, matches, walk
from project_fanout.images.jobs import images_job

#: Names the folder that the sensor looks at.
FOLDER_VARIABLE = "PROJECT_FANOUT_PHOTOGRAPHS"
#: Patterns of files in it that are left out, with commas between them; see `exclude` of `image_catalog`.
EXCLUDE_VARIABLE = "PROJECT_FANOUT_PHOTOGRAPHS_EXCLUDE"
#: The fan-outs over the photographs.
FANOUTS = ("web_renditions", "thumbnails")


@dg.sensor(
    name="new_photographs",
    job=images_job,
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.STOPPED,
    description=f"Renders the photographs in ${FOLDER_VARIABLE} when some are new, changed or gone. Off until it "
    "is switched on.",
)
def new_photographs(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
    """Request one run of the images job when photographs in the folder are new, changed or gone.

    A file counts once its size and time of change have been the same at two ticks, so that one that is still being
    copied waits, and holds back no other. What the sensor knows is in its cursor: a restart loses nothing.
    """
    if not (folder := os.environ.get(FOLDER_VARIABLE)):
        return dg.SkipReason(f"{FOLDER_VARIABLE} is not set: set it to the folder with the photographs.")
    now = time.time()
    try:
        seen = dict(_files(Path(folder).expanduser().absolute()))
    except OSError as error:
        return dg.SkipReason(f"{folder}, of {FOLDER_VARIABLE}, cannot be listed: {error.strerror}.")
    before = _Known.of(context.cursor, folder)
    settled = {name: mark for name, mark in seen.items() if before.seen.get(name) == mark}
    waiting = sorted(seen.keys() - settled.keys())
    rendered = before.rendered
    # One that is being replaced is no reason for a run yet, but what it was is no longer there either.
    if {**settled, **{name: rendered[name] for name in waiting if name in rendered}} == rendered:
        copied = f" {len(waiting)} may still be being copied." if waiting else ""
        return dg.SensorResult(
            skip_reason=f"Nothing has changed in {len(settled)} files.{copied}",
            cursor=_Known(folder, seen, rendered, before.runs).text,
        )
    known = _Known(folder, seen, settled, before.runs + 1)
    request = dg.RunRequest(run_key=known.run_key, run_config=run_config(folder, waiting, now))
    return dg.SensorResult(run_requests=[request], cursor=known.text)


def run_config(folder: str, waiting: Collection[str] = (), as_of: float | None = None) -> dict[str, object]:
    """Return the run config that renders of the photographs in *folder* what no run has rendered yet.

    Args:
        folder: the folder.
        waiting: names of files that are left out.
        as_of: as are those that have changed later, in seconds since 1970.
    """
    catalog = {"source_dir": folder, "exclude": _excluded(), "leave_out": list(waiting), "as_of": as_of}
    fanout = {"config": {"policy": {"reuse": "always"}}}
    return {"ops": {"image_catalog": {"config": catalog}, **dict.fromkeys(FANOUTS, fanout)}}


@dataclass(frozen=True, slots=True)
class _Known:
    """What the sensor knows of a folder: by file name, size and time of change.

    Args:
        folder: the folder.
        seen: the files as they were at the last tick.
        rendered: those that a run has been requested for.
        runs: how many have been.
    """

    folder: str
    seen: dict[str, str] = field(default_factory=dict)
    rendered: dict[str, str] = field(default_factory=dict)
    runs: int = 0

    @classmethod
    def of(cls, cursor: str | None, folder: str) -> "_Known":
        """Return what *cursor* says, nothing but the count if that is of another folder."""
        known = cls(**json.loads(cursor)) if cursor else cls(folder)
        return known if known.folder == folder else cls(folder, runs=known.runs)

    @property
    def text(self) -> str:
        """The same as a cursor."""
        return json.dumps(asdict(self), separators=(",", ":"))

    @property
    def run_key(self) -> str:
        """The same at a tick that is evaluated again, and another one for each run."""
        digest = hashlib.sha256(json.dumps([self.folder, self.rendered], sort_keys=True).encode()).hexdigest()
        return f"{self.runs}-{digest[:16]}"


def _excluded() -> list[str]:
    patterns = (each.strip() for each in os.environ.get(EXCLUDE_VARIABLE, "").split(","))
    return [pattern for pattern in patterns if pattern]


def _files(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield of each photograph below *folder* its key, and its size and time of change.

    Raises:
        OSError: *folder* cannot be listed.
    """
    os.scandir(folder).close()
    exclude = _excluded()
    for entry in walk(folder):
        path, key = entry.path, key_of(entry.path.relative_to(folder))
        if entry.left_out or path.suffix.lower() not in READ_SUFFIXES | UNREAD_SUFFIXES:
            continue
        if any(matches(pattern, key) for pattern in exclude):
            continue
        try:
            found = path.stat()
        except OSError:
            continue  # it has gone meanwhile, or is a broken link
        yield key, f"{found.st_size:x}.{found.st_mtime_ns:x}"
