"""A page as a notebook: the one kind of file that Dagster's web server hands to a browser."""

import json
from base64 import b64encode

# The page takes the place of the notebook's, with nothing of it left: not before the script has ended, because until
# then it would only be added.
_SCRIPT = (
    "<script>setTimeout(() => {{ const bytes = Uint8Array.from(atob('{page}'), (each) => each.charCodeAt(0)); "
    "const page = new TextDecoder().decode(bytes); "
    "document.open(); document.write(page); document.close(); }}, 0);</script>"
)


def notebook_of(page: str) -> str:
    """Return *page*, HTML, as a notebook whose only cell shows it."""
    script = _SCRIPT.format(page=b64encode(page.encode("utf-8")).decode("ascii"))
    shown = {"output_type": "display_data", "metadata": {}, "data": {"text/html": script}}
    cell: dict[str, object] = {
        "cell_type": "code",
        "id": "report",
        "metadata": {},
        "source": "",
        "execution_count": None,
        "outputs": [shown],
    }
    return json.dumps({"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": [cell]})
