"""A conversion as a person reads it: the report as tables, the weights as files."""

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from effvit_mm.checkpoint.convert import ConversionReport, ConvertedWeights, Task
from effvit_mm.checkpoint.whole_file import written_whole
from effvit_mm.errors import BadInputError

NUM_ROWS = 12


def print_report(report: ConversionReport, console: Console | None = None) -> None:
    """Print what became of every name: the counts, and the names that need a look."""
    console = console or Console(soft_wrap=True)
    summary = Table("names", "count", title="conversion")
    parts = ("matched", "dropped", "fresh", "missing", "unexpected")
    for part in parts:
        summary.add_row(part, str(len(getattr(report, part))))
    console.print(summary)
    _print_names(console, "dropped, and why", report.dropped)
    _print_names(console, "fresh (start as a new norm)", dict.fromkeys(report.fresh, "1 and 0: train them"))
    _print_names(console, "missing", dict.fromkeys(report.missing, "not in the source"))
    _print_names(console, "unexpected", report.unexpected)


def write_converted(
    weights: ConvertedWeights, destination: Path, *, name: str, task: Task, overwrite: bool = False
) -> dict[Path, str]:
    """Write converted weights, and beside them the constructor arguments they need, if any.

    Args:
        weights: As :func:`convert_file` returns them.
        destination: A ``.pth`` or ``.safetensors`` file; its folder is made.
        name: The backbone, such as ``'lit_s'``.
        task: ``'classifier'`` or ``'backbone'``.
        overwrite: Replace files that exist.

    Returns:
        The files written, and what each holds.

    Raises:
        BadInputError: If a file exists already, or ``destination`` has another suffix.
        NotSavedError: If the disk is full or the folder cannot be written.
    """
    if destination.suffix not in (".pth", ".safetensors"):
        raise BadInputError(f"{destination} must end in .pth or .safetensors, which says how it is written")
    sidecar = destination.with_suffix(".json")
    files = {destination: f"weights of the {task} {name}"}
    if weights.overrides:
        files[sidecar] = f"the arguments that {name} needs for these weights, {_as_arguments(weights.overrides)}"
    if taken := [file for file in (destination, sidecar) if file.exists() and not overwrite]:
        raise BadInputError(f"{taken[0]} exists already; give another name, or --overwrite to replace it")
    destination.parent.mkdir(parents=True, exist_ok=True)
    remedy = "Make room or give another destination"
    if weights.overrides:
        with written_whole(sidecar, remedy=remedy) as partial:
            partial.write_text(
                json.dumps({"name": name, "task": task, "overrides": weights.overrides}, indent=2) + "\n"
            )
    else:
        sidecar.unlink(missing_ok=True)  # of weights that were here before
    with written_whole(destination, remedy=remedy) as partial:
        plain = {key: value.contiguous() for key, value in weights.items()}
        if destination.suffix == ".pth":
            torch.save(plain, partial)
        else:
            from safetensors.torch import save_file

            save_file(plain, partial)
    return files


def _as_arguments(overrides: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in overrides.items())


def _print_names(console: Console, title: str, names: Mapping[str, str]) -> None:
    if not names:
        return
    table = Table("name", "why", title=title)
    for name, why in list(names.items())[:NUM_ROWS]:
        table.add_row(name, why)
    if len(names) > NUM_ROWS:
        table.add_row("...", f"and {len(names) - NUM_ROWS} more")
    console.print(table)
