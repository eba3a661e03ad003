"""Conductor's example of a dynamic fork, letter by letter as its documentation prints it."""

import json
import re

WORKFLOW_INPUT = """
{
"fileLocation": "https://pbs.twimg.com/media/FJY7ud0XEAYVCS8?format=png&name=900x900",
"outputFormats": ["png","jpg"],
"outputSizes": [
{"width":300,
"height":300},
{"width":200,
"height":200}
],
"maintainAspectRatio": "true"
}
"""

SIMPLE_TASKS = """
{ "dynamicTasks": [
{
"name": :"image_convert_resize",
"taskReferenceName": "image_convert_resize_png_300x300_0",
...
},
{
"name": :"image_convert_resize",
"taskReferenceName": "image_convert_resize_png_200x200_1",
...
},
{
"name": :"image_convert_resize",
"taskReferenceName": "image_convert_resize_jpg_300x300_2",
...
},
{
"name": :"image_convert_resize",
"taskReferenceName": "image_convert_resize_jpg_200x200_3",
...
}
]}
"""

SUB_WORKFLOW_TASKS = """
{ "dynamicTasks": [
{
"subWorkflowParam" : {
"name": :"image_convert_resize_subworkflow",
"version": "1"
},
"type" : "SUB_WORKFLOW",
"taskReferenceName": "image_convert_resize_subworkflow_png_300x300_0",
...
},
{
"subWorkflowParam" : {
"name": :"image_convert_resize_subworkflow",
"version": "1"
},
"type" : "SUB_WORKFLOW",
"taskReferenceName": "image_convert_resize_subworkflow_png_200x200_1",
...
},
{
"subWorkflowParam" : {
"name": :"image_convert_resize_subworkflow",
"version": "1"
},
"type" : "SUB_WORKFLOW",
"taskReferenceName": "image_convert_resize_subworkflow_jpg_300x300_2",
...
},
{
"subWorkflowParam" : {
"name": :"image_convert_resize_subworkflow",
"version": "1"
},
"type" : "SUB_WORKFLOW",
"taskReferenceName": "image_convert_resize_subworkflow_jpg_200x200_3",
...
}
]}
"""

TASKS_INPUT = """
"dynamicTasksInput":{
"image_convert_resize_jpg_300x300_2":{
"outputWidth":300
"outputHeight":300
"fileLocation":"https://pbs.twimg.com/media/FJY7ud0XEAYVCS8?format=png&name=900x900"
"outputFormat":"jpg"
"maintainAspectRatio":true
}
"image_convert_resize_jpg_200x200_3":{
"outputWidth":200
"outputHeight":200
"fileLocation":"https://pbs.twimg.com/media/FJY7ud0XEAYVCS8?format=png&name=900x900"
"outputFormat":"jpg"
"maintainAspectRatio":true
}
"image_convert_resize_png_200x200_1":{
"outputWidth":200
"outputHeight":200
"fileLocation":"https://pbs.twimg.com/media/FJY7ud0XEAYVCS8?format=png&name=900x900"
"outputFormat":"png"
"maintainAspectRatio":true
}
"image_convert_resize_png_300x300_0":{
"outputWidth":300
"outputHeight":300
"fileLocation":"https://pbs.twimg.com/media/FJY7ud0XEAYVCS8?format=png&name=900x900"
"outputFormat":"png"
"maintainAspectRatio":true
}
"""

HOST = "pbs.twimg.com"
PATH = "/media/FJY7ud0XEAYVCS8?format=png&name=900x900"
#: What the example makes, in the order of its tasks.
PICTURES = {"png_300x300_0": 300, "png_200x200_1": 200, "jpg_300x300_2": 300, "jpg_200x200_3": 200}


def mended(printed: str) -> dict:
    """Return the example as JSON, with its syntax errors mended and nothing else.

    `"name": :` loses a colon, `...` goes with the comma before it, lines that another member follows
    get their comma, and the map of inputs its outer braces.
    """
    text = printed.replace('"name": :', '"name":')
    text = re.sub(r",\s*\.\.\.", "", text)
    text = re.sub(r'([\d"}]|true)\n(")', r"\1,\n\2", text)
    if not text.lstrip().startswith("{"):
        text = f"{{{text}}}}}"
    return json.loads(text)


def for_workflows(inputs: dict) -> dict:
    """Return the same inputs under the references that the example gives its sub-workflows."""
    return {
        reference.replace("convert_resize_", "convert_resize_subworkflow_"): each
        for reference, each in inputs.items()
    }
