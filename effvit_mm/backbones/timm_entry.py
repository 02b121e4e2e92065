"""The backbones under timm's registry: importing this module registers ``effvit_mm_<name>`` for every backbone.

::

    import timm
    import effvit_mm.backbones.timm_entry

    timm.create_model("effvit_mm_lit_s", num_classes=10)
    timm.create_model("effvit_mm_lit_s", features_only=True, out_indices=(1, 2, 3))
"""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import torch
from timm.data import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from timm.models import FeatureInfo, build_model_with_cfg, generate_default_cfgs, is_model, register_model
from timm.models import resolve_pretrained_cfg as resolve
from torch import Tensor, nn

from effvit_mm.backbones.classifier import Classifier
from effvit_mm.backbones.factory import _find, create_backbone, create_classifier, list_backbones

__all__ = ["TimmClassifier", "TimmFeatures", "register_all"]

PREFIX = "effvit_mm_"
NUM_LEVELS = 4
Pool = Literal["avg", "token", ""]

default_cfgs: dict[str, Any] = {}

_UNUSED_BY_FEATURES = ("pretrained_cfg", "pretrained_cfg_overlay", "cache_dir", "num_classes", "drop_rate", "in_chans")
# What the recipes of configs/imagenet spare from weight decay beside what has one dimension. LIT's tables of positions,
# one for each stage, decay.
_WITHOUT_DECAY = ("bias_table", "anchors", "temperature", "prefix.tokens", "backbone.positions.table")


class TimmClassifier(Classifier):
    """A classifier with the methods that timm's tools call.

    Its weights have the names of :class:`~effvit_mm.backbones.Classifier`, which takes them, as does every dense
    config.

    Args:
        backbone: As for the parent; with one class token at most.
        num_classes: Classes; 0 for features.
        drop_rate: Dropout in front of the head.
        global_pool: None for the network's own, ``'avg'`` or ``'token'``; ``''`` for what the backbone returns, without
            a head.

    Shape:
        x ``(B, 3, H, W)``; returns ``(B, num_classes)``; features ``(B, C)``; without pooling what the backbone
        returns, ``(B, C, H', W')`` or its class token ``(B, C)``.

    Cost:
        That of the parent.

    Raises:
        ValueError: If the backbone has two class tokens, or ``global_pool`` is neither its own nor ``''``.

    Reference:
        None: it is an interface, timm's (https://github.com/huggingface/pytorch-image-models).

    Differs from the paper:
        Where a network reads its class token, ``forward_features`` returns that token, and not the others with it.
    """

    def __init__(
        self, backbone: nn.Module, num_classes: int = 1000, *, drop_rate: float = 0.0, global_pool: str | None = None
    ) -> None:
        super().__init__(backbone, num_classes)
        if hasattr(self, "head_dist"):
            raise ValueError("num_prefix=2: timm's tools know one head; leave the distillation token out")
        tokens = getattr(backbone, "class_token", False) or getattr(backbone, "num_class_tokens", 0)
        self.own_pool: Pool = "token" if tokens else "avg"
        self.num_features = self.head_hidden_size = _ints(backbone.channels)[-1]
        self.feature_info = [_level("backbone", self.num_features, _ints(backbone.strides)[-1])]
        self.head_drop = nn.Dropout(drop_rate)
        self.num_classes = num_classes
        self.global_pool = self._pool(global_pool)

    def forward(self, x: Tensor) -> Tensor:
        """Score the classes of pictures ``(B, 3, H, W)``."""
        return self.forward_head(self.forward_features(x))

    def forward_features(self, x: Tensor) -> Tensor:
        """Compute what the backbone returns last: a normed map ``(B, C, H', W')``, or its class token."""
        last: Tensor = self.backbone(x)[-1]
        return last

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Pool what ``forward_features`` returned, and score the classes unless ``pre_logits``."""
        if not self.global_pool:
            return x
        if x.ndim == 4:
            x = x.mean(dim=(2, 3))
        x = self.head_drop(x)
        return x if pre_logits else self.head(x)

    def get_classifier(self) -> nn.Module:
        """Return the head."""
        return self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the head by a fresh one; ``num_classes=0`` for features."""
        if global_pool is not None:
            self.global_pool = self._pool(global_pool)
        fresh = Classifier(self.backbone, num_classes).head
        self.head = fresh.to(next(self.backbone.parameters()).device)
        self.num_classes = num_classes

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        _set_checkpointing(self.backbone, enable)

    def no_weight_decay(self) -> set[str]:
        """Return the names that weight decay spares beside those of one dimension."""
        return {name for name, _ in self.named_parameters() if name.endswith(_WITHOUT_DECAY)}

    def group_matcher(self, coarse: bool = False) -> Callable[[str], int]:
        """Return a function from a parameter's name to its depth, by which timm groups parameters (``--layer-decay``).

        Args:
            coarse: Not used: there is one way to group.
        """
        backbone: Any = self.backbone
        return lambda name: backbone.get_layer_depth(name, "backbone.")[0]

    def _pool(self, asked: str | None) -> Pool:
        if asked not in (None, "", self.own_pool):
            raise ValueError(f"global_pool={asked!r} must be {self.own_pool!r}, which this network has, or '' for none")
        return self.own_pool if asked is None else "" if asked == "" else self.own_pool


class TimmFeatures(nn.Module):
    """A backbone for dense prediction as timm's ``features_only`` gives one: a list of maps, each behind its norm.

    Args:
        backbone: The backbone, which returns the levels ``out_indices``.
        levels: One dict of ``num_chs``, ``reduction`` and ``module`` for each of the four levels.
        out_indices: Levels that are returned.

    Shape:
        x ``(B, 3, H, W)``; returns a list of ``(B, channels[i], ceil(H / reduction[i]), ceil(W / reduction[i]))``.

    Cost:
        That of the backbone.
    """

    def __init__(self, backbone: nn.Module, levels: list[dict[str, Any]], out_indices: Sequence[int]) -> None:
        super().__init__()
        self.backbone = backbone
        self.feature_info = FeatureInfo(levels, tuple(out_indices))

    def forward(self, x: Tensor) -> list[Tensor]:
        """Compute the maps of pictures ``(B, 3, H, W)``."""
        return list(self.backbone(x))

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Recompute each block in the backward pass instead of keeping its activations."""
        _set_checkpointing(self.backbone, enable)


def register_all() -> None:
    """Register every backbone that timm does not know yet: those of the package, and later ones of your own."""
    for name in list_backbones():
        if not is_model(PREFIX + name):
            default_cfgs.update(generate_default_cfgs({PREFIX + name: _default_cfg(name)}))
            globals()[PREFIX + name] = register_model(_entry(name))


def _entry(name: str) -> Callable[..., nn.Module]:
    def entry(pretrained: bool = False, **kwargs: Any) -> nn.Module:
        if kwargs.setdefault("in_chans", 3) != 3:
            raise ValueError(f"in_chans: {PREFIX + name} takes pictures of 3 channels")
        cfg = resolve(PREFIX + name, kwargs.get("pretrained_cfg"), kwargs.get("pretrained_cfg_overlay"))
        if pretrained and not (cfg.file or cfg.has_weights):
            raise ValueError(
                f"pretrained=True: no weights of {PREFIX + name} are published; pass pretrained=False, or a file of "
                f"your own with pretrained_cfg_overlay=dict(file='weights.pth')"
            )
        if kwargs.pop("features_only", False):
            for unused in _UNUSED_BY_FEATURES:
                kwargs.pop(unused, None)
            return _features(name, cfg.file if pretrained else None, **kwargs)
        return build_model_with_cfg(_builder(name), PREFIX + name, pretrained, **kwargs)

    entry.__name__ = entry.__qualname__ = PREFIX + name
    entry.__doc__ = f"Build :func:`effvit_mm.create_classifier` of ``{name!r}``, or its backbone, for timm."
    return entry


def _builder(name: str) -> Callable[..., TimmClassifier]:
    def build(
        num_classes: int = 1000,
        in_chans: int = 3,  # checked before timm adds it
        drop_rate: float = 0.0,
        global_pool: str | None = None,
        **options: Any,
    ) -> TimmClassifier:
        backbone = create_classifier(name, 0, **options).backbone
        return TimmClassifier(backbone, num_classes, drop_rate=drop_rate, global_pool=global_pool)

    return build


def _features(
    name: str, file: str | None, out_indices: int | Sequence[int] = (0, 1, 2, 3), **options: Any
) -> TimmFeatures:
    if isinstance(out_indices, int):  # timm: the last so many
        out_indices = range(NUM_LEVELS - out_indices, NUM_LEVELS)
    indices = tuple(i + NUM_LEVELS if i < 0 else i for i in out_indices)
    with torch.device("meta"):
        whole = create_backbone(name, **options)
    part = "stages" if hasattr(whole, "stages") else "pyramid"
    levels = [
        _level(f"backbone.{part}.{i}", channels, stride)
        for i, (channels, stride) in enumerate(zip(_ints(whole.channels), _ints(whole.strides), strict=True))
    ]
    init_cfg = {"init_cfg": dict(type="Pretrained", checkpoint=str(file))} if file else {}
    backbone: Any = create_backbone(name, out_indices=indices, **{**options, **init_cfg})
    if file:
        backbone.init_weights()
    return TimmFeatures(backbone, levels, indices)


def _default_cfg(name: str) -> dict[str, Any]:
    cls, variant = _find(name)
    side = cls.variants[variant].get("pretrain_img_size", 224)
    stride = 4 * 2 ** cls.classifier_options(variant)["out_indices"][-1]
    return dict(
        num_classes=1000,
        input_size=(3, side, side),
        pool_size=(side // stride, side // stride),
        crop_pct=0.875,
        interpolation="bicubic",
        mean=IMAGENET_DEFAULT_MEAN,
        std=IMAGENET_DEFAULT_STD,
        first_conv=None,  # the number of channels is not adapted
        classifier="head",
        license="apache-2.0",
    )


def _level(module: str, channels: int, stride: int) -> dict[str, Any]:
    return dict(num_chs=channels, reduction=stride, module=module)


def _ints(value: Any) -> tuple[int, ...]:
    return tuple(value)


def _set_checkpointing(backbone: nn.Module, enable: bool) -> None:
    for module in backbone.modules():
        if hasattr(module, "with_cp"):
            module.with_cp = enable  # type: ignore[assignment]


register_all()
