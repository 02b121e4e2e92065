"""A conversion as a person reads it: the report as tables, the weights as files."""

import io
import json
import os
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text
from torch import Tensor

from effvit_mm.checkpoint.convert import ConversionReport, ConvertedWeights, Task
from effvit_mm.checkpoint.released import shown
from effvit_mm.checkpoint.whole_file import written_whole
from effvit_mm.errors import BadInputError

NUM_ROWS = 12
_REMEDY = "{first} or give another destination"


def print_report(report: ConversionReport, console: Console | None = None) -> None:
    """Print what became of every name: the counts, and the names that need a look."""
    console = console or Console(soft_wrap=True)
    summary = Table("names", "count", title="conversion")
    parts = ("matched", "dropped", "fresh", "missing", "unexpected")
    for part in parts:
        summary.add_row(part, str(len(getattr(report, part))))
    if report.made:
        summary.add_row("made", str(len(report.made)))
    console.print(summary)
    _print_names(console, "dropped, and why", report.dropped)
    _print_names(console, "made, and from what", report.made)
    _print_names(console, "fresh (start as in a new network)", dict.fromkeys(report.fresh, "train them"))
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
        overwrite: Replace files that an earlier conversion wrote, or weights.

    Returns:
        The files written, and what each holds.

    Raises:
        BadInputError: If a file exists already, ``destination`` has another suffix or is where the weights come from,
            or what would be replaced is no file of weights or arguments.
        NotSavedError: If the disk is full or the folder cannot be written; what was there before is as it was.
    """
    if destination.suffix not in (".pth", ".safetensors"):
        raise BadInputError(f"{destination} must end in .pth or .safetensors, which says how it is written")
    sidecar = destination.with_suffix(".json")
    files = {destination: f"weights of the {task} {name}"}
    if weights.overrides:
        files[sidecar] = f"the arguments that {name} needs for these weights, {_as_arguments(weights.overrides)}"
    _check_free(destination, weights.source, overwrite=overwrite)
    is_note = _is_note(sidecar)
    if weights.overrides and os.path.lexists(sidecar) and not is_note:
        raise BadInputError(
            f"{sidecar} must take the arguments these weights need, and holds something else; give another name"
        )
    if is_note:
        _check_free(sidecar, weights.source, overwrite=overwrite)
    note = {"name": name, "task": task, "overrides": weights.overrides}
    with ExitStack() as both:
        # Last in, first out: the note is renamed when the weights are written, and the weights right after it.
        partial = both.enter_context(written_whole(destination, remedy=_REMEDY))
        destination.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(_serialized(weights, destination.suffix))
        if weights.overrides:
            partial = both.enter_context(written_whole(sidecar, remedy=_REMEDY))
            partial.write_text(json.dumps(note, indent=2) + "\n")
    if is_note and not weights.overrides:
        sidecar.unlink(missing_ok=True)  # of weights that were here before
    return files


def _check_free(file: Path, source: Path | None, *, overwrite: bool) -> None:
    """Check that a file can be written where nothing of value is."""
    file = Path(os.path.realpath(file.parent), file.name)  # its folder need not be there yet, nor what it goes up from
    if not os.path.lexists(file):
        return
    if not os.path.isfile(file):
        raise BadInputError(f"{file} exists and is no file; give the path of a file to write")
    if source is not None and os.path.samefile(file, source):
        raise BadInputError(f"{file} is the file the weights come from; give another name, it is not replaced")
    if not overwrite:
        raise BadInputError(f"{file} exists already; give another name, or --overwrite to replace it")


def _is_note(sidecar: Path) -> bool:
    """Tell whether a file holds arguments that an earlier conversion wrote."""
    try:
        content = json.loads(sidecar.read_text())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(content, dict) and content.keys() == {"name", "task", "overrides"}


def _serialized(weights: Mapping[str, Tensor], suffix: str) -> bytes:
    # Copies: what views hold is stored once, without what they leave out, and safetensors takes no shared memory.
    plain = {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in weights.items()}
    if suffix == ".safetensors":
        from safetensors.torch import save

        return save(plain)
    content = io.BytesIO()  # unlike torch's own writer of files, a plain write says why it failed
    torch.save(plain, content)
    return content.getvalue()


def _as_arguments(overrides: Mapping[str, object]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in overrides.items())


def _print_names(console: Console, title: str, names: Mapping[str, str]) -> None:
    if not names:
        return
    table = Table("name", "why", title=title)
    for name, why in list(names.items())[:NUM_ROWS]:
        table.add_row(Text(shown(name)), Text(why))
    if len(names) > NUM_ROWS:
        table.add_row("...", f"and {len(names) - NUM_ROWS} more")
    console.print(table)
