"""Any config on toy scenes: the overlay of its method is merged over it, the scenes are made on first use."""

from pathlib import Path

from mmengine.config import Config

from effvit_mm.engine.errors import BadInputError


def apply_toy(cfg: Config, config_file: Path, overlays: Path) -> None:
    """Merge the toy overlay of a config's method into ``cfg``.

    The overlay is ``<overlays>/<method>.py``, where the method is the first word of the config's file name:
    ``maskrcnn`` of ``maskrcnn_anchorformer.py``.

    Args:
        cfg: The config, changed in place.
        config_file: The file it came from.
        overlays: Folder of the overlays, ``configs/_base_/toy``.

    Raises:
        BadInputError: If there is no overlay for the method.
    """
    method = config_file.stem.split("_")[0]
    overlay = overlays / f"{method}.py"
    if not overlay.is_file():
        known = ", ".join(sorted(path.stem for path in overlays.glob("[!_]*.py")))
        raise BadInputError(
            f"--toy has no overlay for {config_file.name}: it looked for {overlay}.\n"
            f"Overlays exist for: {known}. A config's file name begins with its method, as in maskrcnn_mine.py."
        )
    cfg.merge_from_dict(Config.fromfile(overlay)._cfg_dict.to_dict())


def make_toy_scenes(cfg: Config) -> None:
    """Render the scenes that the merged overlay asks for, unless they are there already."""
    # Only runs on toy scenes pay for importing the renderer.
    from effvit_mm.datasets.toy_export import ensure_toy_scenes

    ensure_toy_scenes(**cfg.toy_scenes)
