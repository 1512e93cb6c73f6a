"""Reads of the object under review, for Wardset policies in Python."""

import json
from typing import Any

from wit_world.imports import document

__all__ = ["read"]


def read(pointer: str) -> Any:
    """Returns the value of the object at `pointer`; none if it is missing or null."""
    text = document.object(pointer)
    return None if text is None else json.loads(text)
