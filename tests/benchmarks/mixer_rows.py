"""The rows of ``mixers.py``: what they are about, and their file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from mixer_report import LEARNED

from effvit_mm.errors import BadInputError

PICTURES = ("8x224x224", "1x512x512", "1x800x1280")
GRIDS = (32, 64, 128, 256)

Row = dict[str, Any]
Key = tuple[Any, ...]


class Rows:
    """The rows of a file; each has a key that no other has."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        lines = path.read_text().splitlines() if path.exists() else []
        self.rows: dict[Key, Row] = {self._key(row): row for row in map(json.loads, lines)}

    def get(self, make: Callable[[], Row], **about: Any) -> Row:
        """Return the row about something; make and write it if there is none."""
        if self._key(about) not in self.rows:
            try:
                row = make()
            except (BadInputError, torch.cuda.OutOfMemoryError) as error:
                row = {"stopped": str(error)}
            row = {**about, **row}
            with self.path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            # As it will be read: without tuples.
            self.rows[self._key(about)] = json.loads(json.dumps(row))
        return self.rows[self._key(about)]

    def of_device(self, device: str, dtype: str) -> list[Row]:
        """The rows measured so, and those that no device takes part in."""
        anywhere = ("cost", *LEARNED)
        return [
            row
            for row in self.rows.values()
            if row["part"] in anywhere or (row["device"], row["dtype"]) == (device, dtype)
        ]

    @staticmethod
    def _key(row: Row) -> Key:
        return tuple(row.get(name) for name in ("part", "mixer", "on", "device", "dtype"))
