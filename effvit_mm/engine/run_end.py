"""What is said of a run that is over: where its checkpoint and pictures lie, and how to evaluate it again."""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from mmengine.config import Config

from effvit_mm.checkpoint import load_safely
from effvit_mm.engine.last_checkpoint import USUAL, own_template
from effvit_mm.engine.report import show_figures


def steps_done(cfg: Config, checkpoint: Path) -> str | None:
    """Say how far a run that is complete has come, such as ``'12 of 12 epochs'``; None if something is left to do.

    A run is complete when its last checkpoint and, where it validates, the figures that follow it are written.

    Args:
        cfg: The config of the run.
        checkpoint: Its last whole checkpoint.
    """
    unit, number = _place(cfg, checkpoint)
    last = (cfg.get("train_cfg") or {}).get(f"max_{unit}s")
    if not isinstance(last, int) or isinstance(last, bool) or number < last:
        return None
    figures = Path(cfg.work_dir, "metrics.json")
    validates = cfg.get("val_cfg") is not None
    if validates and (not figures.is_file() or figures.stat().st_mtime < checkpoint.stat().st_mtime):
        return None
    return f"{number} of {last} {'epochs' if unit == 'epoch' else 'iterations'}"


def _place(cfg: Config, checkpoint: Path) -> tuple[str, int]:
    """Return how far a checkpoint's run had come; a name of one's own may count anything, and the file is asked."""
    if own_template(cfg) is None and USUAL.fullmatch(checkpoint.name):
        unit, number = checkpoint.stem.split("_")
        return unit, int(number)
    unit = "epoch" if "max_epochs" in (cfg.get("train_cfg") or {}) else "iter"
    return unit, load_safely(checkpoint)["meta"][unit]


def show_complete(cfg: Config, checkpoint: Path, done: str) -> None:
    """Say that there is nothing to do for a resumed run, and show what it left.

    Args:
        cfg: The config of the run.
        checkpoint: Its last checkpoint.
        done: How far it has come.
    """
    print(f"the run in {cfg.work_dir} is already complete ({done}): nothing to do")
    figures = Path(cfg.work_dir, "metrics.json")
    if figures.is_file():
        show_figures(_read(figures), "last evaluation")
    show_end(cfg, checkpoint)
    # A run that has just ended said it beside its figures.
    pictures = Path(cfg.work_dir, "predictions")
    if pictures.is_dir():
        print(f"pictures     {pictures}")


def show_end(cfg: Config, checkpoint: Path | None) -> None:
    """Name the last checkpoint and the command that evaluates it.

    Args:
        cfg: The config of the run.
        checkpoint: Its last whole checkpoint, None where it wrote none.
    """
    if checkpoint is not None:
        # The config that the run wrote beside its checkpoints holds every option of the command line.
        source = Path(str(cfg.filename))
        written = Path(cfg.work_dir, source.name)
        tool = Path(sys.argv[0]).with_name("test.py")
        words = (tool if tool.is_file() else "tools/test.py", written if written.is_file() else source, checkpoint)
        print(f"checkpoint   {checkpoint}")
        print(f"evaluate it  python {' '.join(shlex.quote(str(word)) for word in words)}")


def _read(file: Path) -> dict[str, Any]:
    try:
        figures = json.loads(file.read_text())
    except ValueError:
        return {}
    return figures if isinstance(figures, dict) else {}
