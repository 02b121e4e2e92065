"""Ways in which a user's files and arguments go wrong, each a small function that damages one case.

A function says in its decorator what must come of it: ``"work"`` (it is legal), ``"refuse"`` (a clear message) or
``"any"`` of the two, where that depends on the seed or both are right.
"""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

MUTATIONS: dict[str, "Mutation"] = {}


@dataclass
class Case:
    """A small, whole run: its folder, its config, what the command line says, and what a refusal must name."""

    folder: Path
    config: dict
    rng: random.Random
    tool: str
    arguments: dict = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    @property
    def data(self):
        return self.folder / "data"

    @property
    def config_file(self):
        return self.folder / "maskrcnn_case.py"

    @property
    def checkpoint(self):
        return self.folder / "run/epoch_1.pth"

    def split(self):
        """One of the splits that the tool reads."""
        return self.rng.choice(("train", "val")) if self.tool == "train" else "val"

    def annotation_file(self, split):
        return self.data / f"annotations/instances_{split}2017.json"

    def edit_annotations(self, change):
        """Change the content of the annotation file of a split that is read; ``change`` gets it and may return a new
        one."""
        split = self.split()
        file = self.annotation_file(split)
        content = json.loads(file.read_text())
        changed = change(content)
        file.write_text(json.dumps(content if changed is None else changed))
        self.names.append(file.name)


@dataclass(frozen=True)
class Mutation:
    """A way to go wrong, and what must come of it."""

    kind: str
    apply: Callable[[Case], None]
    expected: str


def mutation(kind, expected="any"):
    """Register a function that damages a case."""

    def register(function):
        MUTATIONS[function.__name__] = Mutation(kind, function, expected)
        return function

    return register


def place_of(config, path):
    """The dict or list that holds the value at a dotted path, and its key there."""
    *parents, key = [int(part) if part.isdigit() else part for part in path.split(".")]
    for parent in parents:
        config = config[parent]
    return config, key


def put(config, path, value):
    """Set the value at a dotted path."""
    place, key = place_of(config, path)
    place[key] = value


def take(config, path):
    """Remove the value at a dotted path and return it."""
    place, key = place_of(config, path)
    return place.pop(key)


def paths_of(value, prefix=""):
    """Every dotted path of a nested config, with its value."""
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        path = f"{prefix}{key}"
        yield path, child
        yield from paths_of(child, f"{path}.")


def misspelt(word, rng):
    """The word with two neighbouring letters swapped, one left out or one doubled."""
    i = rng.randrange(len(word) - 1) if len(word) > 1 else 0
    forms = {
        word[:i] + word[i + 1 : i + 2] + word[i] + word[i + 2 :],
        word[:i] + word[i + 1 :],
        word[:i] + word[i:][0] + word[i:],
    }
    return rng.choice(sorted(forms - {word, ""}))


# Each module fills the table.
from mutations import annotations, checkpoints, configs, conversions, pictures  # noqa: E402, F401
