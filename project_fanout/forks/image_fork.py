"""The task in front of the fork: which image tasks, with which inputs, a workflow input asks for."""

from typing import Annotated, Any, Literal

from annotated_types import MinLen
from pydantic import ConfigDict, with_config
from typing_extensions import TypedDict

from project_fanout.forks.image_tasks import (
    TASK,
    WORKFLOW,
    FileLocation,
    KeepsAspectRatio,
    OutputFormat,
    Side,
)
from project_fanout.images.catalog import shipped_photos


@with_config(ConfigDict(extra="forbid"))
class OutputSize(TypedDict):
    """One of the wanted sizes, in pixels."""

    width: Side
    height: Side


DEFAULT_FORMATS: list[OutputFormat] = ["png", "jpg"]
DEFAULT_SIZES: list[OutputSize] = [{"width": 300, "height": 300}, {"width": 200, "height": 200}]


def image_tasks(
    *,
    fileLocation: FileLocation | None = None,
    outputFormats: Annotated[list[OutputFormat], "png, jpg, webp, avif", MinLen(1)] = DEFAULT_FORMATS,
    outputSizes: Annotated[list[OutputSize], "A list of {width, height}.", MinLen(1)] = DEFAULT_SIZES,
    maintainAspectRatio: KeepsAspectRatio = True,
    taskName: Annotated[
        Literal["image_convert_resize", "image_convert_resize_subworkflow"],
        "Do each as one task, or as a workflow of four stages.",
    ] = "image_convert_resize",
) -> dict[str, Any]:
    """Fork into one image task per format and size.

    Without *fileLocation* it is one of the photographs that come with the project.
    """
    location = fileLocation or str(shipped_photos() / "chelsea.png")
    tasks, inputs = [], {}
    wanted = [(name, size) for name in outputFormats for size in outputSizes]
    for index, (name, size) in enumerate(wanted):
        reference = f"{taskName}_{name}_{size['width']}x{size['height']}_{index}"
        tasks.append({**_TASKS[taskName], "taskReferenceName": reference})
        inputs[reference] = {
            "fileLocation": location,
            "outputFormat": name,
            "outputWidth": size["width"],
            "outputHeight": size["height"],
            "maintainAspectRatio": maintainAspectRatio,
        }
    return {"dynamicTasks": tasks, "dynamicTasksInput": inputs}


_TASKS: dict[str, dict[str, Any]] = {
    TASK: {"name": TASK},
    WORKFLOW: {"type": "SUB_WORKFLOW", "subWorkflowParam": {"name": WORKFLOW, "version": "1"}},
}
