"""The extras of setup.cfg that workloads need: loading what is installed, and saying what is not."""

import functools
import importlib
import logging
from types import ModuleType
from typing import Literal

Extra = Literal["images", "campaigns"]

#: The packages of each extra as they are imported; setup.cfg names their distributions.
PACKAGES: dict[Extra, frozenset[str]] = {
    "images": frozenset({"PIL", "dagster_duckdb_pandas", "duckdb", "jinja2", "typing_extensions"}),
    "campaigns": frozenset({"aiosmtpd", "duckdb", "email_validator", "jinja2"}),
}


def load(module: str, extra: Extra) -> ModuleType | None:
    """Import *module*, or return None where a package of *extra* is not installed.

    The log then has a line with the command that installs it, once per process. Any other error of the import is
    raised, also that of a package that is installed and broken.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name not in PACKAGES[extra]:
            raise
        _tell_once(extra, error.name)
        return None


@functools.cache
def _tell_once(extra: Extra, package: str) -> None:
    logging.getLogger(__name__).warning(
        "Assets that need the extra %s are not loaded: %s is not installed. Run: pip install 'project_fanout[%s]'",
        extra,
        package,
        extra,
    )
