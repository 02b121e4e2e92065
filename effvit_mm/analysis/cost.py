"""The cost command: count a model and show the ledger as a table or as JSON."""

import json
import sys
from collections.abc import Mapping
from typing import Any

from effvit_mm.analysis.counting import count
from effvit_mm.analysis.ledger import Cost, Ledger
from effvit_mm.analysis.operators import TOTAL_LINES
from effvit_mm.analysis.provenance import in_words, provenance
from effvit_mm.analysis.subjects import load_subject, pictures, require_config
from effvit_mm.errors import BadInputError


def cost_of(
    name: str, shape: tuple[int, int], *, batch: int = 1, options: Mapping[str, Any] | None = None
) -> tuple[Ledger, dict[str, Any]]:
    """Count a model by its name.

    Args:
        name: What :func:`~effvit_mm.analysis.subjects.load_subject` takes.
        shape: Height and width of the pictures, in pixels.
        batch: Pictures a call.
        options: Values by dotted key, for a config.

    Returns:
        The ledger, and the same as plain values for JSON.

    Raises:
        BadInputError: If the model cannot be built, is no config and has options, or does not take such pictures.
    """
    require_config([name], options)
    subject = load_subject(name, shape, batch=batch, options=options)
    try:
        ledger = count(subject.module, pictures(shape, batch), **subject.call)
    except (ValueError, RuntimeError, AssertionError) as error:
        raise BadInputError(f"{name} fails on pictures of {shape[0]} x {shape[1]} (H x W): {error}") from error
    return ledger, {
        "name": name,
        "counted": subject.scope,
        "shape": list(shape),
        "batch": batch,
        "macs": ledger.macs,
        "flops": ledger.flops,
        "params": ledger.params,
        "activation_bytes": ledger.activation_bytes,
        "by_op": {line: _plain(line, cost) for line, cost in ledger.by_line().items()},
        "by_layer": {layer: _plain(None, cost) for layer, cost in ledger.by_layer().items()},
        "unknown": ledger.unknown(),
        "provenance": provenance("analytic"),
    }


def show(
    ledger: Ledger, report: Mapping[str, Any], *, depth: int = 2, flops: bool = False, as_json: bool = False
) -> None:
    """Print the ledger as two tables: by operator, and by layer.

    Args:
        ledger: What was counted.
        report: What :func:`cost_of` returned with it.
        depth: Parts of the names of layers that are shown.
        flops: Count a multiplication and an addition as two operations.
        as_json: Print the report as JSON instead.
    """
    if as_json:
        print(json.dumps(report, indent=2))
        return
    from rich.console import Console

    unit, factor = ("GFLOPs", 2) if flops else ("GMACs", 1)
    height, width = report["shape"]
    # Where there is no terminal, rich would cut the tables to 80 columns.
    console = Console() if sys.stdout.isatty() else Console(width=120)
    console.print(
        f"[bold]{report['name']}[/]: {report['counted']}, {report['batch']} x 3 x {height} x {width}\n"
        f"{factor * ledger.macs / 1e9:.2f} {unit}, {ledger.params / 1e6:.2f} M parameters, "
        f"{ledger.activation_bytes / 1e6:.1f} MB of activations",
        highlight=False,
    )
    console.print(_by_operator(ledger, unit, factor))
    console.print(_by_layer(ledger, unit, factor, depth))
    for name, share in ledger.unknown().items():
        console.print(f"[yellow]not counted: {name}, {share:.1%} of the calls[/]", highlight=False)
    console.print(f"[dim]{in_words(report['provenance'])}[/]", highlight=False)


def _by_operator(ledger: Ledger, unit: str, factor: int) -> Any:
    from rich.table import Table

    table = Table(_left("operator"), *(_right(head) for head in ("calls", unit, "share", "MB read", "MB written")))
    lines = ledger.by_line()
    for line, cost in lines.items():
        counted = line in TOTAL_LINES
        share = f"{cost.macs / max(ledger.macs, 1):.1%}" if counted else "beside"
        macs = f"{factor * cost.macs / 1e9:.3f}" if cost.macs else "-"
        table.add_row(line, str(cost.calls), macs, share, *_megabytes(cost))
    whole = Cost()
    for cost in lines.values():
        whole.add(cost)
    table.add_section()
    table.add_row("total", str(whole.calls), f"{factor * ledger.macs / 1e9:.3f}", "100.0%", *_megabytes(whole))
    return table


def _by_layer(ledger: Ledger, unit: str, factor: int, depth: int) -> Any:
    from rich.table import Table

    heads = ("parameters", unit, "share", "MB written")
    table = Table(_left("layer"), _left("type"), *(_right(head) for head in heads))
    for layer, cost in ledger.by_layer(depth).items():
        table.add_row(
            f"{'  ' * layer.count('.')}{layer.rpartition('.')[2]}" if layer else "(whole)",
            ledger.layer_types[layer],
            f"{ledger.layer_params[layer]:,}",
            f"{factor * cost.macs / 1e9:.3f}",
            f"{cost.macs / max(ledger.macs, 1):.1%}",
            f"{cost.bytes_written / 1e6:.1f}",
        )
    return table


def _left(head: str) -> Any:
    from rich.table import Column

    return Column(head, no_wrap=True)


def _right(head: str) -> Any:
    from rich.table import Column

    return Column(head, justify="right")


def _megabytes(cost: Cost) -> tuple[str, str]:
    return f"{cost.bytes_read / 1e6:.1f}", f"{cost.bytes_written / 1e6:.1f}"


def _plain(line: str | None, cost: Cost) -> dict[str, Any]:
    plain = {"macs": cost.macs, "bytes_read": cost.bytes_read, "bytes_written": cost.bytes_written, "calls": cost.calls}
    return plain if line is None else {**plain, "in_total": line in TOTAL_LINES}
