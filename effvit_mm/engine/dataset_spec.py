"""What the dict of a data set in a config stands for, and whether the files that it names are there."""

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from mmengine.registry import DATASETS

from effvit_mm.errors import BadInputError
from effvit_mm.registry import near_path

FOUND = "found"


def class_of(spec: Any, scope: str) -> Any:
    """Return the class of a data set; None where its name is not registered under the scope."""
    with DATASETS.switch_scope_and_registry(scope) as registry:
        return registry.get(spec["type"]) if isinstance(spec["type"], str) else spec["type"]


def reads_local_files(spec: Any, scope: str, base: type, readers: Collection[Callable]) -> bool:
    """Tell whether a data set finds its files on this machine, in a way that is known here.

    Args:
        spec: The data set's dict.
        scope: The config's ``default_scope``.
        base: The class that it must be of.
        readers: What its ``load_data_list`` may be: a subclass that finds its files in its own way is left to itself.
    """
    cls = class_of(spec, scope)
    return (
        isinstance(cls, type)
        and issubclass(cls, base)
        and cls.load_data_list in readers
        and "://" not in f"{spec.get('data_root')}{spec.get('data_prefix')}"
    )


def evaluators_of(cfg: Any, split: str) -> list[Any]:
    """Return the evaluators of a split, which a config gives alone or in a list; training has none."""
    evaluators = [] if split == "train" else cfg.get(f"{split}_evaluator") or []
    evaluators = evaluators if isinstance(evaluators, list | tuple) else [evaluators]
    return [evaluator for evaluator in evaluators if isinstance(evaluator, dict)]


def check_presence(parts: Mapping[str, str | Path], source: str, toy_hint: str) -> None:
    """Refuse data of which a part is missing, with a list of all parts and the names that are near to a missing one.

    Args:
        parts: By what it is, the path of each part; of a folder with a slash at its end.
        source: Where the data comes from.
        toy_hint: What to try where there is no data.

    Raises:
        BadInputError: If a part is missing.
    """
    states = {f"{what}  {path}": _state_of(str(path)) for what, path in parts.items()}
    if all(state == FOUND for state in states.values()):
        return
    width = max(map(len, states))
    listing = "\n".join(f"  {part:<{width}}  {state}" for part, state in states.items())
    raise BadInputError(f"data is missing; looked from {Path.cwd()} for\n{listing}\n{source}\n{toy_hint}")


def _state_of(part: str) -> str:
    path = Path(part)
    if path.is_dir() if part.endswith("/") else path.is_file():
        return FOUND
    near = near_path(path)
    return f"MISSING; {near}" if near else "MISSING"
