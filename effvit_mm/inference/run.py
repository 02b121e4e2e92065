"""Everything of the tool that predicts: what is asked for, the run, and what it leaves."""

import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import track

from effvit_mm.checkpoint import make_loading_safe
from effvit_mm.engine.config_check import check_work_dir
from effvit_mm.errors import BadInputError, listed
from effvit_mm.inference.predictor import Predictor
from effvit_mm.inference.results import results_of, write_picture
from effvit_mm.inference.sources import Picture, Video, find_pictures, is_video, written_video

DRAWN = ("png", "jpg", "none")
NUM_NAMED = 20


def infer(
    config: str | Path,
    checkpoint: str | Path,
    source: str | Path,
    out: str | Path,
    *,
    overlays: str | Path | None = None,
    options: Mapping[str, Any] | None = None,
    device: str | None = None,
    batch_size: int = 1,
    score_threshold: float = 0.3,
    drawn: str = "png",
    frames: bool = False,
    overwrite: bool = False,
) -> list[str]:
    """Predict a picture, the pictures of a folder, or a video, and write results and drawings.

    Args:
        config: The config the checkpoint was trained with.
        checkpoint: The weights.
        source: A picture, a folder of them, or a video.
        out: Folder that everything is written to.
        overlays: Folder of overlays that the model was trained under.
        options: Values of the config by dotted key.
        device: Where the model runs; an accelerator if there is one.
        batch_size: Most pictures that go through the network at once.
        score_threshold: Objects below it are not drawn; the results hold every one that the model gives.
        drawn: Format of the drawings, ``'png'``, ``'jpg'`` or ``'none'``; of a video it is that of its frames.
        frames: Whether the frames of a video are drawn one by one, too.
        overwrite: Write into a folder that holds something already, over files of the same names.

    Returns:
        What could not be predicted and why, a line each; empty if all was.

    Raises:
        BadInputError: If anything that was asked for cannot be used, before the first picture is predicted.
    """
    source, out = Path(source), Path(out)
    _check(out, overwrite, score_threshold, drawn)
    if not source.exists():
        raise BadInputError(f"input {source} does not exist, looked from {Path.cwd()}; give a picture, folder or video")
    video = Video(source) if source.is_file() and is_video(source) else None
    pictures: Iterable[Picture]
    pictures, left_out = (video, "") if video is not None else find_pictures(source, without=out)
    make_loading_safe()
    predict = Predictor(config, checkpoint, device=device, batch_size=batch_size, overlays=overlays, options=options)
    about = dict(config=str(config), checkpoint=str(checkpoint), input=str(source))
    failures: list[str] = []
    total = video.num_frames if video is not None else len(pictures)  # type: ignore[arg-type]
    done = 0
    with ExitStack() as open_files:
        results = open_files.enter_context(results_of(predict.task, out, predict.classes, about, predict.model))
        keep = _keeper(out, drawn, video, frames, open_files)
        progress = track(
            predict.stream(pictures), "predicting", total=total, console=Console(stderr=True), transient=True
        )
        for prediction in progress:
            if prediction.error is not None:
                failures.append(str(prediction.error))
                continue
            results.add(prediction.picture, prediction.sample)
            if keep is not None:
                drawing = predict.draw(
                    prediction.pixels,
                    prediction.sample,
                    score_threshold=score_threshold,
                    same_size=video is not None,
                )
                keep(prediction.picture, drawing)
            done += 1
        if not done:
            raise BadInputError(f"nothing could be predicted:{listed(failures, NUM_NAMED)}")
    if video is not None and video.shortfall():
        failures.append(video.shortfall())
    _show_end(out, done, predict.task, drawn, left_out)
    return failures


def show_failures(failures: list[str]) -> None:
    """Print what could not be predicted, on the error stream."""
    print(f"{len(failures)} could not be predicted:{listed(failures, NUM_NAMED)}", file=sys.stderr)


def _check(out: Path, overwrite: bool, score_threshold: float, drawn: str) -> None:
    if not 0 <= score_threshold <= 1:
        raise BadInputError(f"the score threshold is {score_threshold}, expected a number from 0 to 1")
    if drawn not in DRAWN:
        raise BadInputError(f"drawn={drawn!r} is not allowed; pass one of {', '.join(DRAWN)}")
    check_work_dir(out)
    if out.is_dir() and any(out.iterdir()) and not overwrite:
        raise BadInputError(
            f"the folder {out} holds something already; give another --out, or --overwrite to write over files of the "
            f"same names"
        )


def _keeper(
    out: Path, drawn: str, video: Video | None, frames: bool, open_files: ExitStack
) -> Callable[[Picture, np.ndarray], None] | None:
    """Return what takes the drawings, None where there are to be none."""
    if drawn == "none":
        return None
    film = None
    if video is not None:
        film = open_files.enter_context(written_video(out / "drawn" / f"{video.file.stem}.mp4", video.rate))

    def keep(picture: Picture, drawing: np.ndarray) -> None:
        if film is not None:
            film(drawing)
        if film is None or frames:
            write_picture(out / "drawn" / f"{picture.stem}.{drawn}", drawing)

    return keep


def _show_end(out: Path, done: int, task: str, drawn: str, left_out: str) -> None:
    print(f"{task} of {done} picture{'s' if done != 1 else ''}")
    if left_out:
        print(f"left out  {left_out}")
    print(f"results   {out / 'results.json'}")
    if drawn != "none":
        print(f"drawings  {out / 'drawn'}")
