"""Where a run's checkpoints lie, under which names, and which one it goes on from."""

import re
import zipfile
from pathlib import Path
from string import Formatter
from typing import Any

from mmengine.config import Config

USUAL = re.compile(r"(?:epoch|iter)_(\d+)\.pth")


def last_checkpoint_of(cfg: Config) -> Path | None:
    """Return the last checkpoint of a config's run that was written to its end; None where none is found.

    Args:
        cfg: The config of a run, with its ``work_dir``.
    """
    folder = checkpoint_folder(cfg)
    return folder and last_whole_checkpoint(Path(cfg.work_dir), folder=folder, template=own_template(cfg))


def last_whole_checkpoint(work_dir: Path, *, folder: Path | None = None, template: str | None = None) -> Path | None:
    """Return the last checkpoint of a folder's last run that was written to its end.

    torch's checkpoints are zip archives, whose directory is written last: a file without it was cut off. MMEngine's
    ``last_checkpoint`` names what was written last: files that are older may be of another run, which had come further.

    Args:
        work_dir: The work dir of the run.
        folder: Where its checkpoints lie, the work dir by default.
        template: The ``filename_tmpl`` of its hook; files named ``epoch_*.pth`` and ``iter_*.pth`` are found anyway, as
            is the one that ``last_checkpoint`` names.
    """
    folder = folder or work_dir
    named = named_last(work_dir)
    try:
        since = (folder / Path(named or "").name).stat().st_mtime_ns if named else 0
    except OSError:
        since = 0
    patterns = [USUAL, *([_pattern(template)] if template else [])]

    def recency(path: Path) -> tuple[bool, int]:
        written = path.stat().st_mtime_ns
        match = next(filter(None, (pattern.fullmatch(path.name) for pattern in patterns)), None)
        number = int(match[1]) if match and match.re.groups else 0
        return written >= since, number if written >= since else written

    files = list(folder.iterdir()) if folder.is_dir() else []
    own = Path(named or "").name
    found = [path for path in files if path.name == own or any(pattern.fullmatch(path.name) for pattern in patterns)]
    found.sort(key=recency, reverse=True)
    return next((path for path in found if zipfile.is_zipfile(path)), None)


def named_last(work_dir: Path) -> str | None:
    """Return what MMEngine's ``last_checkpoint`` names, as it was when it was written; None where there is none."""
    try:
        return (work_dir / "last_checkpoint").read_text(encoding="utf-8").strip() or None
    except OSError:
        return None


def checkpoint_folder(cfg: Config) -> Path | None:
    """Return the folder of a run's checkpoints, with ``out_dir`` one in it named as the work dir; None if elsewhere."""
    out_dir = _hook(cfg).get("out_dir")
    work_dir = Path(cfg.work_dir)
    if out_dir is None or str(out_dir) == str(cfg.work_dir):
        return work_dir
    return None if "://" in str(out_dir) else Path(out_dir, work_dir.name)


def own_template(cfg: Config) -> str | None:
    """Return the ``filename_tmpl`` that the config gives its checkpoints, None where their names are the usual ones."""
    return _hook(cfg).get("filename_tmpl")


def _hook(cfg: Config) -> dict[str, Any]:
    hooks = [*(cfg.get("default_hooks") or {}).values(), *(cfg.get("custom_hooks") or ())]
    for hook in hooks:
        kind = hook.get("type") if isinstance(hook, dict) else None
        if str(getattr(kind, "__name__", kind)).endswith("CheckpointHook"):
            return hook
    return {}


def _pattern(template: str) -> re.Pattern[str]:
    """Return what matches every name of a template such as ``'mine_{:03d}.pth'``, with the number as its group."""
    parts = []
    for text, field, _, _ in Formatter().parse(template):
        parts += [re.escape(text)] + ([] if field is None else [r"\s*(\d+)"])
    return re.compile("".join(parts))
