"""One function a tool: everything from the command line's values to the end of the run."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.registry import RUNNERS
from mmengine.runner import EpochBasedTrainLoop
from torch import nn

from effvit_mm.checkpoint import check_some_fit, load_trained, load_whole, make_loading_safe, read_weights
from effvit_mm.engine.explain import explained
from effvit_mm.engine.last_checkpoint import checkpoint_folder, last_checkpoint_of, last_whole_checkpoint
from effvit_mm.engine.preflight import check_run
from effvit_mm.engine.run import (
    enable_amp,
    enable_auto_scale_lr,
    enable_resume,
    enable_tta,
    load_config,
    require_accelerator,
)
from effvit_mm.engine.run_end import show_complete, show_end, steps_done
from effvit_mm.engine.runner import ExactRunner, prepare_processes
from effvit_mm.engine.schedule_check import RunLength, schedule_notes
from effvit_mm.engine.work_dir_lock import own_folder
from effvit_mm.errors import BadInputError
from effvit_mm.parent_death import end_with_launcher


def train(
    config_file: Path,
    *,
    work_dir: Path | None = None,
    overlays: Path | None = None,
    num_pictures: int | None = None,
    data_root: Path | None = None,
    options: Mapping[str, Any] | None = None,
    launcher: str = "none",
    resume: bool = False,
    amp: bool = False,
    auto_scale_lr: bool = False,
) -> Any:
    """Train a config; :func:`~effvit_mm.engine.run.load_config` documents the first arguments.

    Args:
        config_file: A text config.
        work_dir: Where the run writes.
        overlays: Folder of overlays that put the config in another setting.
        num_pictures: Train and validate on this many pictures of the training data.
        data_root: Folder that takes the place of every data set's.
        options: Values by dotted key.
        launcher: How several processes were started: ``'none'``, ``'pytorch'``, ``'slurm'`` or ``'mpi'``.
        resume: Go on from the last whole checkpoint of the work dir.
        amp: Train with mixed precision.
        auto_scale_lr: Scale the learning rate to the batch of this run.

    Returns:
        The runner, after training; None if the run to resume is complete.

    Raises:
        BadInputError: If the config, its model or its data cannot be used, or another run is going in the work dir,
            before anything is built.
    """
    if amp:
        require_accelerator()
        options = enable_amp(options)
    cfg = load_config(
        config_file,
        work_dir=work_dir,
        overlays=overlays,
        num_pictures=num_pictures,
        data_root=data_root,
        options=options,
    )
    make_loading_safe()
    end_with_launcher()
    cfg.launcher = launcher
    if auto_scale_lr:
        enable_auto_scale_lr(cfg)
    work_dir = Path(cfg.work_dir)
    checkpoints = checkpoint_folder(cfg) or work_dir
    first = _is_first_process()
    with own_folder(work_dir, active=first), own_folder(checkpoints, active=first and checkpoints != work_dir):
        return _train(cfg, resume=resume, warns_of_batch=overlays is None and not auto_scale_lr)


def _train(cfg: Config, *, resume: bool, warns_of_batch: bool) -> Any:
    if resume:
        checkpoint = enable_resume(cfg)
        done = steps_done(cfg, checkpoint) if checkpoint else None
        if done:
            if _is_first_process():
                show_complete(cfg, checkpoint, done)
            return None
        print(f"resuming from {checkpoint}" if checkpoint else f"nothing to resume in {cfg.work_dir}: starting anew")
    _check(cfg, ("train", "val"))
    if not resume and _is_first_process():
        _say_earlier_run(cfg)
    prepare_processes(cfg)
    weights = _weights_to_start_from(cfg)
    with explained(cfg):
        # Another runner, such as MMEngine's FlexibleRunner with its strategies, is used as it is.
        runner = RUNNERS.build(cfg) if "runner_type" in cfg else ExactRunner.from_cfg(cfg)
        if weights is not None and isinstance(runner, ExactRunner):
            check_fit = load_whole if cfg.get("resume") else check_some_fit
            check_fit(_unwrapped(runner.model), weights, cfg.load_from)
        del weights
        if _is_first_process() and warns_of_batch:
            _say_other_batch(cfg, runner.world_size)
        if isinstance(runner, ExactRunner):
            _say_schedule(cfg, runner)
        runner.train()
    if _is_first_process():
        show_end(cfg, last_checkpoint_of(cfg))
    return runner


def evaluate(
    config_file: Path,
    checkpoint: Path,
    *,
    work_dir: Path | None = None,
    overlays: Path | None = None,
    data_root: Path | None = None,
    options: Mapping[str, Any] | None = None,
    launcher: str = "none",
    tta: bool = False,
) -> dict[str, float]:
    """Evaluate a checkpoint on the config's test data.

    Args:
        config_file: A text config.
        checkpoint: The weights.
        work_dir: Where the report goes; ``test/`` beside the checkpoint by default.
        overlays: Folder of overlays that put the config in another setting.
        data_root: Folder that takes the place of every data set's.
        options: Values by dotted key.
        launcher: How several processes were started.
        tta: Predict each picture at several scales and mirrored, and average (the config's ``tta_pipeline``).

    Returns:
        The metrics.

    Raises:
        BadInputError: If the config, its model, its data or the checkpoint cannot be used, before anything is built.
    """
    if not checkpoint.is_file():
        newest = last_whole_checkpoint(checkpoint.parent)
        hint = f"the newest there is {newest}" if newest else "give the path of one that training wrote"
        state = "is no file" if checkpoint.exists() else "does not exist"
        raise BadInputError(f"checkpoint {checkpoint} {state}; {hint}")
    cfg = load_config(
        config_file,
        work_dir=work_dir or checkpoint.parent / "test",
        overlays=overlays,
        data_root=data_root,
        options=options,
        splits=("test",),
    )
    make_loading_safe()
    end_with_launcher()
    cfg.launcher = launcher
    cfg.load_from, cfg.resume = str(checkpoint), False
    with own_folder(Path(cfg.work_dir), active=_is_first_process()):
        return _evaluate(cfg, checkpoint, tta=tta)


def _evaluate(cfg: Config, checkpoint: Path, *, tta: bool) -> dict[str, float]:
    _check(cfg, ("test",))
    if tta:
        enable_tta(cfg)
    weights = read_weights(checkpoint)
    prepare_processes(cfg)
    with explained(cfg):
        runner = ExactRunner.from_cfg(cfg)
        load_trained(_unwrapped(runner.model), weights, checkpoint, cfg)
        del weights
        return runner.test()


def _check(cfg: Config, splits: tuple[str, ...]) -> None:
    # One process reads the files; where it stops the run, the launcher stops the others.
    if _is_first_process():
        check_run(cfg, splits)


def _say_earlier_run(cfg: Config) -> None:
    """Say so where a run begins in the folder of another."""
    earlier = last_checkpoint_of(cfg)
    if earlier:
        print(
            f"{earlier.parent} holds {earlier.name} of an earlier run; this one writes over files of the same names: "
            f"--resume goes on with a run, another --work-dir keeps both"
        )


def _say_other_batch(cfg: Config, num_processes: int) -> None:
    """Say so where the learning rate is meant for another number of pictures a step than the run has."""
    meant = (cfg.get("auto_scale_lr") or {}).get("base_batch_size")
    found = cfg.train_dataloader.get("batch_size", 1) * num_processes * cfg.optim_wrapper.get("accumulative_counts", 1)
    if meant and meant != found:
        print(
            f"the learning rate is meant for {meant} pictures a step, and a step of this run has {found}: "
            f"--auto-scale-lr scales it"
        )


def _say_schedule(cfg: Config, runner: ExactRunner) -> None:
    """Say so where the schedule is meant for a run of another length."""
    loop = runner.train_loop
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    length = RunLength(loop.max_iters, loop.max_epochs if by_epoch else None, len(loop.dataloader))
    for note in schedule_notes(cfg, length):
        if _is_first_process():
            print(note)


def _is_first_process() -> bool:
    return int(os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))) == 0


def _weights_to_start_from(cfg: Config) -> Mapping[str, Any] | None:
    """Read the weights of ``load_from`` before anything is built; None where there are none, or they lie elsewhere."""
    file = cfg.get("load_from")
    if file is None or "://" in str(file) or "runner_type" in cfg:
        return None
    if not isinstance(file, str):
        raise BadInputError(f"load_from is {file!r}, expected the path of a checkpoint or None")
    return read_weights(file, named="load_from")


def _unwrapped(model: nn.Module) -> nn.Module:
    """Return the model itself, where others wrap it for several processes or for predicting a picture several times."""
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
