"""What makes a unit the same unit in another run."""

import hashlib
import json

from project_fanout.engine.values import Encoded, identity


def unit_fingerprint(stage_reference: str, unit_key: str, payload: Encoded, params_json: str) -> str:
    """Return the SHA-256 of what a unit's result depends on: the stage, and all that the stage gets."""
    text = json.dumps([stage_reference, unit_key, identity(payload), params_json])
    return hashlib.sha256(text.encode("ascii")).hexdigest()
