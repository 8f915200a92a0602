"""JSON that any reader takes: NaN and infinities, which Python would write, are no part of it."""

from __future__ import annotations

import json
from typing import Any


def to_json(value: Any, indent: int | None = None) -> str:
    """The JSON text of a value.

    Raises:
        ValueError: for a NaN or an infinity: write null in its place, and why.
    """
    return json.dumps(value, indent=indent, allow_nan=False)
