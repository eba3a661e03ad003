"""Requests read by pydantic models, with every problem said in the project's own words."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ValidationError

from project_fanout.engine.annotations import accepted_words

_Model = TypeVar("_Model", bound=BaseModel)


def usable_part(model: type[_Model], given: Mapping[str, Any], problems: list[str]) -> _Model:
    """Return *given* as *model*, whose fields all have defaults; what is wrong is left out and told to *problems*."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        problems += problems_of(error, model)
        wrong = {found["loc"][0] for found in error.errors()}
        return model.model_validate({name: given[name] for name in given if name not in wrong})


def problems_of(error: ValidationError, model: type[BaseModel]) -> list[str]:
    """Return what pydantic found in a *model* as texts, e.g. "retryCount is 'x', accepted: int | None, 0 to 99"."""
    return [_problem(found, model) for found in error.errors(include_url=False)]


def _problem(found: Any, model: type[BaseModel]) -> str:
    name, value = ".".join(map(str, found["loc"])), found["input"]
    if found["type"] == "value_error":
        return str(found["ctx"]["error"])
    if not name:
        return f"is {value!r}, accepted: a map of {', '.join(model.model_fields)}"
    if found["type"] == "missing":
        return f"{name} is missing"
    if found["type"] == "extra_forbidden":
        own = len(found["loc"]) == 1
        return f"{name} is not supported here" + (
            f", accepted: {', '.join(model.model_fields)}" if own else ""
        )
    if field := model.model_fields.get(name):
        declared = (field.annotation, None, *field.metadata)  # Annotated wants a second part
        return f"{name} is {value!r}, accepted: {accepted_words(Annotated[declared])}"
    return f"{name} is {value!r}: {found['msg']}"
