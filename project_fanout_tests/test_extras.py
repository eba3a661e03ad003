"""The code location with some of its extras: what is installed is loaded, what is missing is said in a line."""

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest

import project_fanout
from project_fanout.extras import PACKAGES
from project_fanout_tests.processes import run_python

PACKAGE = Path(project_fanout.__file__).parent
#: What comes with Dagster and pydantic, so that a base without it does not start at all.
WITH_THE_BASE = {"jinja2", "typing_extensions"}

BASE = {"c1", "c2", "generate"}
IMAGES = {"image_catalog", "web_renditions", "thumbnails", "renditions_report"}
FORKS = {"dynamic_fork", "image_fork"}
CAMPAIGNS = {"recipients", "campaign_delivery", "campaign_report", "job_request"}

LOADED = """
import sys

class Missing:
    def find_spec(name, path=None, target=None):
        if name in sys.argv[1:]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing)
# The process is forked from one that has them; nothing else of what that has imported is looked at.
for name in list(sys.modules):
    if name.partition(".")[0] in ("project_fanout", *sys.argv[1:]):
        del sys.modules[name]
from project_fanout.definitions import defs
repository = defs.get_repository_def()
jobs = {job.name for job in repository.get_all_jobs() if not job.name.startswith("__")}
print(*(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()), *jobs)
"""


def python(*arguments: str, path: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own, which finds the packages in the folder *path* first."""
    environ = os.environ | ({"PYTHONPATH": str(path)} if path else {})
    command = [sys.executable, "-c", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, env=environ)


@pytest.mark.parametrize(
    ("missing", "loaded", "extras"),
    [
        ([], BASE | IMAGES | FORKS | CAMPAIGNS | {"images_job", "campaign_job"}, []),
        (["PIL"], BASE | CAMPAIGNS | {"campaign_job"}, ["images"]),
        (["dagster_duckdb_pandas"], BASE | FORKS | CAMPAIGNS | {"campaign_job"}, ["images"]),
        (["aiosmtpd"], BASE | IMAGES | FORKS | {"images_job"}, ["campaigns"]),
        (sorted(set().union(*PACKAGES.values()) - WITH_THE_BASE), BASE, ["images", "campaigns"]),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_what_is_installed_is_loaded(
    missing: list[str], loaded: set[str], extras: list[str], tmp_path: Path
) -> None:
    """Assets and jobs whose packages are there, and for each extra that is not one line with how to install it."""
    done = run_python("-c", LOADED, *missing, home=tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(done.stdout.split()) == loaded
    lines = done.stderr.splitlines()
    assert len(lines) == len(extras), done.stderr
    for line, extra in zip(lines, extras, strict=True):
        assert f"pip install 'project_fanout[{extra}]'" in line
        assert any(f"{name} is not installed" in line for name in missing)


@pytest.mark.parametrize(
    ("module", "extra", "file", "source", "message"),
    [
        (
            "images.pixels",
            "images",
            "PIL/__init__.py",
            "import a_part_of_it",
            "No module named 'a_part_of_it'",
        ),
        ("images.pixels", "images", "PIL/__init__.py", "", "cannot import name 'Image'"),
        (
            "images.pixels",
            "images",
            "PIL/__init__.py",
            "import PIL._imaging",
            "No module named 'PIL._imaging'",
        ),
        ("campaigns.recipients", "campaigns", "duckdb.py", "raise ImportError('libz.so.1')", "libz.so.1"),
        ("campaigns.sink", "campaigns", "aiosmtpd.py", "", "No module named 'aiosmtpd.smtp'"),
        ("campaigns.sink", "images", "aiosmtpd.py", "import duckdb_", "No module named 'duckdb_'"),
        ("images.no_such_module", "images", "any.py", "", "'project_fanout.images.no_such_module'"),
    ],
)
def test_a_broken_package_is_an_error(
    tmp_path: Path, module: str, extra: str, file: str, source: str, message: str
) -> None:
    """A package that is installed and cannot be imported is not taken for one that is missing."""
    (tmp_path / file).parent.mkdir(exist_ok=True)
    (tmp_path / file).write_text(source)
    code = "import sys; from project_fanout.extras import load; load(f'project_fanout.{sys.argv[1]}', sys.argv[2])"
    done = python(code, module, extra, path=tmp_path)
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]


def test_the_command_of_the_line_installs_what_is_missing() -> None:
    """The extras of setup.cfg bring the packages that the code location looks for, and no others."""
    distributions = packages_distributions()
    for extra, packages in PACKAGES.items():
        assert {canonical(distributions[name][0]) for name in packages} == required(extra)


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def required(extra: str | None) -> set[str]:
    """Return the distributions that the base, or an extra alone, depends on."""
    found = set()
    for requirement in requires("project_fanout") or []:
        name, _, marker = requirement.partition(";")
        of = re.search(r"extra == ['\"](\w+)['\"]", marker)
        if (of[1] if of else None) == extra:
            found.add(canonical(re.split(r"[\s<>=!\[]", name)[0]))
    return found


def imported(files: Iterable[Path]) -> set[str]:
    """Return the third-party packages that *files* import when they are imported themselves."""
    names: set[str] = set()
    for file in files:
        for statement in ast.parse(file.read_text()).body:
            if isinstance(statement, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom):
                names.add((statement.module or "").partition(".")[0])
    return names - sys.stdlib_module_names - {"project_fanout"}


#: Modules of the library part of forks/ are of the base; these are not.
IMAGE_TASKS = [
    PACKAGE / "forks" / f"{name}.py" for name in ("assets", "definitions", "image_fork", "image_tasks")
]
FILES = {
    "images": [*(PACKAGE / "images").rglob("*.py"), *IMAGE_TASKS],
    "campaigns": list((PACKAGE / "campaigns").rglob("*.py")),
}


def test_the_base_is_small_and_whole() -> None:
    """It has at most eleven direct dependencies, uses each of them, and imports nothing that only an extra brings."""
    base = set(PACKAGE.rglob("*.py")) - {file for files in FILES.values() for file in files}
    # dagster-shared is a part of Dagster with the same version, numpy of pandas; nothing imports Dagster's web UI,
    # and only values with a URL need universal-pathlib.
    unseen = {"dagster-webserver", "universal-pathlib"}
    assert needed(base) - {"dagster-shared", "numpy"} | unseen == required(None)
    assert len(required(None)) <= 11


@pytest.mark.parametrize("extra", FILES)
def test_an_extra_brings_what_its_workload_imports(extra: str) -> None:
    """All of it, and nothing that the workload does not import."""
    own = needed(FILES[extra]) - required(None)
    assert own == required(extra)


def needed(files: Iterable[Path]) -> set[str]:
    """Return the distributions of the packages that *files* import."""
    distributions = packages_distributions()
    return {canonical(distributions[name][0]) for name in imported(files)}
