"""A fan-out asset, loaded from where its definitions are."""

import importlib
import sys
from pathlib import Path
from typing import Any, NamedTuple

import dagster as dg

from project_fanout.orchestration.asset import ops_of
from project_fanout.orchestration.ops import FanoutOps
from project_fanout.orchestration.run_plan import NoPlanError


class LoadedAsset(NamedTuple):
    """A fan-out asset: its ops, and all that is defined with it."""

    ops: FanoutOps
    repository: dg.RepositoryDefinition

    def upstream_values(self, instance: dg.DagsterInstance, partition: str) -> dict[str, Any]:
        """Return the values of the upstream assets that the records function takes, by parameter.

        Raises:
            NoPlanError: one has no value yet, or it cannot be loaded.
        """
        values = {}
        for name, upstream in self.ops.upstream.items():
            found = upstream.asset_in.key or dg.AssetKey(name)
            key = dg.AssetKey.from_coercible(found)
            try:
                values[name] = self.repository.load_asset_value(
                    key, instance=instance, partition_key=partition or None
                )
            except Exception as error:
                cause = f"{type(error).__name__}: {error}".partition("\n")[0]
                raise NoPlanError(
                    f"The upstream asset {key.to_user_string()} has no value that can be loaded ({cause}). Materialize "
                    "it first, with the instance in DAGSTER_HOME and from this folder."
                ) from error
        return values


def load_asset(asset: str, module_name: str | None, python_file: Path | None) -> LoadedAsset:
    """Return the fan-out asset whose key, as text, is *asset*.

    Args:
        asset: the key.
        module_name: module with the `Definitions`.
        python_file: or file with them.

    Raises:
        NoPlanError: it is not there; says what is.
    """
    if (module_name is None) == (python_file is None):
        raise NoPlanError("Say where the asset is defined: -m MODULE or -f FILE.")
    folder = Path.cwd() if python_file is None else python_file.absolute().parent
    sys.path.insert(0, str(folder))
    module = importlib.import_module(module_name or str(python_file and python_file.stem))
    found = [each for each in vars(module).values() if isinstance(each, dg.Definitions)]
    if len(found) != 1:
        raise NoPlanError(f"{module.__name__} holds {len(found)} dagster.Definitions, accepted: one.")
    repository = found[0].get_repository_def()
    fanouts = {
        key.to_user_string(): ops
        for key, each in repository.assets_defs_by_key.items()
        if (ops := ops_of(each)) is not None
    }
    if asset not in fanouts:
        raise NoPlanError(
            f"{asset!r} is no fan-out asset of {module.__name__}, accepted: {', '.join(sorted(fanouts)) or 'none'}."
        )
    return LoadedAsset(fanouts[asset], repository)
