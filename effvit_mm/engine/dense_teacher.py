"""What a frozen dense network teaches one that selects tokens: its attention maps, its features, its logits."""

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from effvit_mm.backbones import ToSADeiT
from effvit_mm.backbones.tosa import DensePass
from effvit_mm.checkpoint import read_weights
from effvit_mm.checkpoint.intake import fit_backbone
from effvit_mm.errors import BadInputError


class DenseTeacher:
    """A frozen copy of a network, every layer dense, with the weights of a file; no part of the student's state.

    Args:
        model: The whole student, whose neck and head are copied for logits.
        backbone: Its backbone.
        file: A checkpoint: the backbone's for maps, with its output layers for features, the whole model's for logits.
        features: Whether features are taught.
        logits: Whether logits are.

    Cost:
        One dense forward of the backbone for each batch, without gradients, whatever is taught; for logits the neck and
        the head of the classifier too. The weights a second time in memory.

    Raises:
        BadInputError: If the file lacks what is to be taught, or the model is no classifier that has logits.
    """

    def __init__(self, model: nn.Module, backbone: ToSADeiT, file: str, *, features: bool, logits: bool) -> None:
        weights = read_weights(file, named="teacher")
        self.backbone = _frozen(backbone)
        intake = fit_backbone(self.backbone, weights, file)
        lacking = [name for name in intake.fresh if not name.startswith("selections.")]
        if (features or logits) and lacking:
            raise BadInputError(
                f"teacher {file} lacks {len(lacking)} weights of the backbone's outputs, such as {lacking[0]}: it has "
                f"no features to teach; give a checkpoint of the dense stage, or feature_weight=0 and logit_weight=0"
            )
        self.backbone.load_state_dict(intake.weights)
        self.read_out = _read_out(model, weights, file) if logits else None
        self.keeps_outputs = features or logits
        self._last: DensePass | None = None

    def maps(self, x: Tensor) -> list[Tensor]:
        """Return the maps that selectors learn from pictures ``(B, 3, H, W)``; where more is taught, keep that."""
        passed = self.backbone.dense_pass(x)
        self._last = passed if self.keeps_outputs else None
        return passed.maps

    def outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """Return the features of the pictures of the last :meth:`maps`, or of ``x`` where no selector learnt."""
        last, self._last = self._last or self.backbone.dense_pass(x), None
        return last.outputs

    @torch.no_grad()
    def logits(self, outputs: tuple[Tensor, ...]) -> Tensor:
        """Return the logits ``(B, classes)`` of features."""
        return cast(nn.Module, self.read_out)(outputs)


def feature_distance(student: tuple[Tensor, ...], teacher: tuple[Tensor, ...]) -> Tensor:
    """Return the mean squared distance of features, a scalar.

    The channels of each place are normalised on both sides, to mean 0 and variance 1: no map counts more because its
    numbers are larger. The maps, ``(B, C, H, W)`` or tokens ``(B, C)`` or ``(B, P, C)``, count alike.
    """
    distances = [F.mse_loss(_normed(one), _normed(other)) for one, other in zip(student, teacher, strict=True)]
    return torch.stack(distances).mean()


def logit_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return the KL divergence of the student's classes from the teacher's, the mean over pictures."""
    return F.kl_div(
        student.float().log_softmax(-1), teacher.float().log_softmax(-1), reduction="batchmean", log_target=True
    )


def _normed(fmap: Tensor) -> Tensor:
    channels_last = fmap.movedim(1, -1) if fmap.ndim == 4 else fmap
    return F.layer_norm(channels_last.float(), channels_last.shape[-1:])


def _frozen(module: nn.Module) -> Any:
    return copy.deepcopy(module).requires_grad_(False).eval()


def _read_out(model: nn.Module, weights: Mapping[str, Tensor], file: str) -> nn.Sequential:
    """Copy a classifier's neck and head, with the weights of a file."""
    if not _has(model, "head"):
        raise BadInputError(
            f"logit_weight needs a classifier, whose head gives logits, and {type(model).__name__} has none; use "
            f"feature_weight, which works with any model"
        )
    return nn.Sequential(*(_taken(model, name, weights, file) for name in ("neck", "head") if _has(model, name)))


def _has(model: nn.Module, name: str) -> bool:
    return isinstance(getattr(model, name, None), nn.Module)


def _taken(model: nn.Module, name: str, weights: Mapping[str, Tensor], file: str) -> nn.Module:
    """Copy a part of a model, with the weights of a file."""
    part = _frozen(getattr(model, name))
    given = {key.removeprefix(f"{name}."): value for key, value in weights.items() if key.startswith(f"{name}.")}
    shapes = [{key: value.shape for key, value in side.items()} for side in (part.state_dict(), given)]
    if shapes[0] != shapes[1]:
        odd = sorted({f"{name}.{key}" for key, _ in shapes[0].items() ^ shapes[1].items()})
        raise BadInputError(
            f"teacher {file} does not fit the classifier: {odd[0]} is missing or of another shape, {len(odd)} such "
            f"weights in all; give a checkpoint of the same classifier's dense stage"
        )
    part.load_state_dict(given)
    return part
