"""What Dagster checks of an upstream asset, by the annotation of the parameter that takes it."""

from typing import Annotated, Any, get_args, get_origin

import dagster as dg


def dagster_type(annotation: Any) -> Any:
    """Return *annotation* where Dagster can check a value by it, else `dagster.Any`.

    A records function is plain Python: it may say `Iterable[str]`, of which Dagster knows nothing, or name
    a `TypedDict`, by which no value can be checked.
    """
    if get_origin(annotation) is Annotated:
        return dagster_type(get_args(annotation)[0])
    if isinstance(annotation, type) and (plain := get_origin(annotation)) is not None:
        # On Python 3.10 list[int] passes for a class, also with Dagster, which then cannot check by it.
        return dagster_type(plain)
    if annotation is Any or not _can_be_checked(annotation):
        return dg.Any
    try:
        dg.In(annotation)
    except dg.DagsterInvalidDefinitionError:
        return dg.Any
    return annotation


def _can_be_checked(annotation: Any) -> bool:
    if isinstance(annotation, type):
        try:
            isinstance(None, annotation)
        except TypeError:
            return False
    return all(map(_can_be_checked, get_args(annotation)))
