"""What every backbone promises to OpenMMLab: freezing, norms kept in evaluation, initialisation, sizes it takes."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypeVar

from mmengine.model import BaseModule, PretrainedInit
from torch import Tensor, nn

from effvit_mm.backbones.initialization import draw_stem_biases, initialize_weights
from effvit_mm.registry import near_names

Self = TypeVar("Self", bound="DenseBackbone")

STRIDES = (4, 8, 16, 32)
"""Of the levels that ``out_indices`` counts, in pixels."""

# By name, as a config has it: it reads files, and nothing here does.
INTAKE = "effvit_mm.checkpoint.intake.PretrainedBackbone"


class DenseBackbone(BaseModule, ABC):
    """A network from pictures to a tuple of maps; a subclass says what it is made of.

    Args:
        out_indices: Levels that are returned, in rising order.
        frozen_stages: How many stages are frozen; 0 freezes the stem alone, -1 nothing.
        norm_eval: Keep BatchNorms in evaluation mode during training.
        init_cfg: MMEngine's initialisation, applied after our own.

    Attributes:
        variants: Table of sizes, by the name of a variant.
        channels: Channels of the returned maps, aligned with ``out_indices``.
        strides: Their strides in pixels.
        min_size: The least height and width of a picture, in pixels.
        compiles_whole: Whether ``torch.compile`` makes one graph of it (``fullgraph=True``); else it runs in pieces.

    Raises:
        ValueError: If ``out_indices`` or ``frozen_stages`` is out of range.
    """

    variants: ClassVar[Mapping[str, Mapping[str, Any]]]
    num_stages = 4
    channels: tuple[int, ...]
    strides: tuple[int, ...]
    min_size: int
    compiles_whole: bool = True
    init_cfg: dict | list[dict] | None

    def __init__(
        self,
        *,
        out_indices: Sequence[int],
        frozen_stages: int,
        norm_eval: bool,
        init_cfg: dict | list[dict] | None,
    ) -> None:
        super().__init__(init_cfg)
        self.out_indices = self._levels("out_indices", out_indices)
        if not self.out_indices:
            raise ValueError(f"out_indices={out_indices!r} is empty; name at least one of the stages 0 to 3")
        if not -1 <= frozen_stages <= self.num_stages:
            raise ValueError(
                f"frozen_stages={frozen_stages} must be -1 (none), 0 (the stem) or 1 to {self.num_stages} stages"
            )
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval

    @classmethod
    def sizes(cls, variant: str) -> Any:
        """Return a row of ``variants``.

        Raises:
            ValueError: If there is none of that name.
        """
        if variant not in cls.variants:
            raise ValueError(f"unknown variant {variant!r} of {cls.__name__}; {near_names(variant, cls.variants)}")
        return cls.variants[variant]

    @abstractmethod
    def stem(self) -> nn.Module:
        """Return the module that reads images."""

    @abstractmethod
    def frozen_modules(self) -> list[nn.Module]:
        """Return the modules that ``frozen_stages`` takes out of training."""

    @abstractmethod
    def num_blocks(self) -> int:
        """Return how many blocks a picture passes."""

    @abstractmethod
    def block_depth(self, names: Sequence[str]) -> int | None:
        """Return the depth of a parameter, given as the parts of its name: 0 in the stem, i + 1 in or before block i.

        None for what lies behind the blocks.
        """

    def get_layer_depth(self, param_name: str, prefix: str = "") -> tuple[int, int]:
        """Return how deep a parameter lies and how many depths there are, as layer-wise learning rates ask for it.

        The stem has depth 0 and block i, counted through the stages, depth i + 1; what stands in front of a later
        stage's blocks (merging, positions, prefix tokens) is as deep as the first of them. The last depth holds what no
        pre-trained block reads: output norms, a simple pyramid, token selectors, and everything outside the backbone.

        Args:
            param_name: Name of the parameter in the model.
            prefix: What names of the backbone's parameters begin with in the model, such as ``'backbone.'``.

        Returns:
            The depth, from 0 to the second value less 1.
        """
        num_depths = self.num_blocks() + 2
        inside = param_name.startswith(prefix)
        depth = self.block_depth(param_name.removeprefix(prefix).split(".")) if inside else None
        return num_depths - 1 if depth is None else depth, num_depths

    def draw_weights(self) -> None:
        """Draw every weight, and biases of the stem that keep the first gradients of padded images in bounds."""
        initialize_weights(self)
        draw_stem_biases(self.stem())

    def init_weights(self) -> None:
        """Draw every weight anew, then apply ``init_cfg``: once, before training, as every module of MMEngine."""
        if not self.is_init:
            self.draw_weights()
            self.init_cfg = _taken_whole(self.init_cfg)
        super().init_weights()

    def train(self: Self, mode: bool = True) -> Self:
        """Switch to training or evaluation; frozen stages, and BatchNorms under ``norm_eval``, stay in evaluation."""
        super().train(mode)
        for module in self.frozen_modules():
            module.eval()
        if self.norm_eval:
            for module in self.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()
        return self

    def freeze(self) -> None:
        """Take the frozen modules out of training; a constructor's last step."""
        for module in self.frozen_modules():
            module.eval().requires_grad_(False)

    def check_pictures(self, pictures: Tensor) -> None:
        """Check that pictures are a batch of a size the network takes.

        Raises:
            ValueError: If they are not ``(B, 3, H, W)``, or smaller than the largest stride.
        """
        if not isinstance(pictures, Tensor) or not pictures.is_floating_point():
            found = f"a tensor of {pictures.dtype}" if isinstance(pictures, Tensor) else f"a {type(pictures).__name__}"
            raise ValueError(
                f"a backbone takes a tensor of floats, got {found}; turn the pictures into one and scale them as in "
                f"training: (torch.as_tensor(x).float() - mean) / std"
            )
        if pictures.ndim != 4 or pictures.shape[1] != 3:
            remedy = "add the batch dimension of a single picture with x[None]"
            if pictures.ndim == 4:
                remedy = "channels come second and are three: drop an alpha channel with x[:, :3], repeat a grey one"
            raise ValueError(f"a backbone takes pictures of shape (B, 3, H, W), got {tuple(pictures.shape)}; {remedy}")
        if min(pictures.shape[-2:]) < self.min_size:
            raise ValueError(
                f"a picture of {pictures.shape[-2]} x {pictures.shape[-1]} pixels (H x W) is smaller than the largest "
                f"stride {self.min_size}; resize or pad it to at least {self.min_size} pixels a side, or leave deep "
                f"stages out of out_indices={self.out_indices}"
            )

    def _levels(self, argument: str, value: Sequence[int]) -> tuple[int, ...]:
        """Check a choice of stages; it may be empty."""
        known = tuple(range(self.num_stages))
        levels = tuple(value) if isinstance(value, Sequence) else ()
        if not isinstance(value, Sequence) or list(levels) != sorted(set(levels)) or not set(levels) <= set(known):
            raise ValueError(
                f"{argument}={value!r} must be stages out of {known}, in rising order, such as {known[1:]}"
            )
        return levels


def _taken_whole(init_cfg: dict | list[dict] | None) -> list[dict]:
    """Put files to load last, as MMEngine does, and have them taken whole: it would load what fits and go on."""
    cfgs = [init_cfg] if isinstance(init_cfg, dict) else list(init_cfg or [])
    files = [cfg for cfg in cfgs if cfg["type"] in ("Pretrained", PretrainedInit)]
    return [*(cfg for cfg in cfgs if cfg not in files), *({**cfg, "type": INTAKE} for cfg in files)]
