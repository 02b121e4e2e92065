"""The latency and compare commands: several models under one setting, as rows of one table."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from effvit_mm.analysis.counting import count
from effvit_mm.analysis.latency import Setting, joules_per_picture, make_step, measure, summarize
from effvit_mm.analysis.memory import peak_on_cpu, peak_on_gpu
from effvit_mm.analysis.provenance import in_words, provenance
from effvit_mm.analysis.subjects import load_subject, pictures, require_config
from effvit_mm.errors import BadInputError

PEERS = (
    "timm:convnext_tiny",
    "timm:swin_tiny_patch4_window7_224",
    "timm:pvt_v2_b2",
    "timm:pvt_v2_b2_li",
    "timm:deit_small_patch16_224",
    "mmseg:MixVisionTransformer(embed_dims=64, num_layers=[3, 4, 6, 3], num_heads=[1, 2, 5, 8])",
)
"""Backbones of about the same size: ConvNeXt-T, Swin-T, PVTv2-B2 and -B2-Li, DeiT-S and MiT-B2."""


def compare(
    names: Sequence[str],
    setting: Setting,
    *,
    memory: bool = True,
    options: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """Measure models in turn in one process.

    Args:
        names: What :func:`~effvit_mm.analysis.subjects.load_subject` takes; networks of timm run as backbones.
        setting: The conditions.
        memory: Whether to measure peak memory too; on a CPU each model takes a process of its own.
        options: Values by dotted key, for configs.

    Returns:
        A row for each model: its cost (analytic), its times, memory and energy (measured), and their provenance.

    Raises:
        BadInputError: If a model cannot be built or fails on pictures of this size.
    """
    if len(set(names)) < len(names):
        raise BadInputError(f"each model is compared once, got {', '.join(names)}")
    require_config(names, options)
    rows: dict[str, dict[str, Any]] = {}
    steps: dict[str, Callable[[], None]] = {}
    for name in names:
        subject = load_subject(name, setting.shape, batch=setting.batch, options=options, as_backbone=True)
        try:
            ledger = count(subject.module, pictures(setting.shape), **subject.call)
            steps[name] = make_step(subject, setting)
            steps[name]()
        except (ValueError, RuntimeError, AssertionError) as error:
            raise BadInputError(f"{name} fails on pictures of {setting.shape} (H, W): {error}") from error
        rows[name] = {"name": name, "counted": subject.scope, "macs": ledger.macs, "params": ledger.params}
    for name, seconds in measure(steps, setting, rounds=_with_progress).items():
        rows[name] |= summarize(seconds, setting.batch)
        pace = setting.batch * rows[name]["macs"] / rows[name]["median_ms"] / 1e6
        rows[name]["gmacs_per_second"] = None if setting.train else pace
        rows[name]["joules_per_picture"], rows[name]["no_joules_because"] = joules_per_picture(steps[name], setting)
        rows[name]["peak_memory_mb"] = _peak(name, steps[name], setting, options) if memory else None
    where = provenance("measured", device=setting.device, dtype=setting.dtype)
    about = {"shape": list(setting.shape), "batch": setting.batch, "step": _step(setting), "repeats": setting.repeats}
    return [{**row, **about, "provenance": where} for row in rows.values()]


def show(rows: Sequence[Mapping[str, Any]], *, as_json: bool = False) -> None:
    """Print the rows as a table, the fastest first, or as JSON."""
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    from rich.console import Console
    from rich.table import Column, Table

    first = rows[0]
    heads = ("params M", "GMACs", "median ms", "quartiles ms", "x fastest", "GMACs/s", "peak MB", "J/picture")
    # Where there is no terminal, rich would cut the table to 80 columns.
    console = Console() if sys.stdout.isatty() else Console(width=140)
    table = Table(Column("model", overflow="fold"), *(Column(head, justify="right", no_wrap=True) for head in heads))
    fastest = min(row["median_ms"] for row in rows)
    for row in sorted(rows, key=lambda row: row["median_ms"]):
        table.add_row(
            row["name"],
            f"{row['params'] / 1e6:.2f}",
            f"{row['macs'] / 1e9:.2f}",
            f"{row['median_ms']:.1f}",
            f"{row['lower_quartile_ms']:.1f} to {row['upper_quartile_ms']:.1f}",
            f"{row['median_ms'] / fastest:.2f}",
            *(_figure(row[key], places) for key, places in (("gmacs_per_second", 1), ("peak_memory_mb", 0))),
            _figure(row["joules_per_picture"], 3),
        )
    console.print(f"{first['step']}, {first['batch']} x 3 x {first['shape'][0]} x {first['shape'][1]}", highlight=False)
    console.print(table)
    if first["no_joules_because"]:
        console.print(f"[dim]no joules: {first['no_joules_because']}[/]", highlight=False)
    console.print(
        f"[dim]parameters and GMACs of one picture: analytic; all else: {in_words(first['provenance'])}[/]",
        highlight=False,
    )


def _peak(name: str, step: Any, setting: Setting, options: Mapping[str, Any] | None) -> float:
    if setting.device.startswith("cuda"):
        return peak_on_gpu(step, setting)
    return peak_on_cpu(name, setting, threads=torch.get_num_threads(), options=options)


def _step(setting: Setting) -> str:
    step = "training step (forward, backward, AdamW)" if setting.train else "forward pass"
    return f"{step}, {'compiled' if setting.compiled else 'eager'}"


def _with_progress(rounds: Any) -> Any:
    from rich.console import Console
    from rich.progress import track

    return track(rounds, description="measuring", console=Console(stderr=True), transient=True)


def _figure(value: float | None, places: int) -> str:
    return "-" if value is None else f"{value:.{places}f}"
