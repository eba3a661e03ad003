"""Requests read by pydantic models, with every problem said in the project's own words."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar, get_args

from pydantic import BaseModel, BeforeValidator, ValidationError
from pydantic.fields import FieldInfo

from project_fanout.engine.annotations import accepted_words
from project_fanout.forks.problems import Problems, shown

_Model = TypeVar("_Model", bound=BaseModel)


def _no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        # A ValueError would be taken for the whole message; of this one the value and what is accepted are said.
        raise AssertionError("a boolean is no number")  # noqa: TRY004
    return value


#: Marks a number in an `Annotated`: pydantic takes true for 1.
NUMBER = BeforeValidator(_no_boolean)


def usable_part(
    model: type[_Model], given: Mapping[Any, Any], problems: Problems, *, where: str = ""
) -> tuple[_Model, frozenset[Any]]:
    """Return *given* as *model*, whose fields all have defaults, and the names of those that are wrong.

    What is wrong is left out of the model and told to *problems*, as found at *where*.
    """
    try:
        return model.model_validate(given), frozenset()
    except ValidationError as error:
        found = error.errors(include_url=False)
    for each in found:
        problems.add(_problem(each, model), where, kind=(model, *each["loc"], each["type"]))
    wrong = frozenset(each["loc"][0] for each in found)
    return model.model_validate({name: given[name] for name in given if name not in wrong}), wrong


def _problem(found: Any, model: type[BaseModel]) -> str:
    """Return what pydantic found as a text, e.g. "retryCount is 'x', accepted: int | None, 0 to 99"."""
    *outer, last = found["loc"]
    name, value = ".".join(map(str, found["loc"])), shown(found["input"])
    if found["type"] == "value_error":
        return str(found["ctx"]["error"])
    if found["type"] == "missing":
        return f"{name} is missing"
    owner: type[BaseModel] | None = model
    for part in outer:
        owner = _model_of(owner.model_fields.get(part)) if owner else None
    if found["type"] == "extra_forbidden":
        accepted = f", accepted: {', '.join(owner.model_fields)}" if owner else ""
        return f"{name} is not supported here{accepted}"
    if owner and (field := owner.model_fields.get(last)):
        declared = (field.annotation, None, *field.metadata)  # Annotated wants a second part
        inner = _model_of(field)
        accepted = (
            f"a map of {', '.join(inner.model_fields)}" if inner else accepted_words(Annotated[declared])
        )
        return f"{name} is {value}, accepted: {accepted}"
    return f"{name} is {value}: {found['msg']}"


def _model_of(field: FieldInfo | None) -> type[BaseModel] | None:
    """Return the model that *field* holds, None if it holds something else."""
    if field is None:
        return None
    kinds = (field.annotation, *get_args(field.annotation))
    return next((kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)), None)
