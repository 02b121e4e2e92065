"""mmseg's depth estimator with the test modes that published figures need."""

from collections.abc import Callable, Sequence
from typing import Any

from mmseg.models import DepthEstimator
from torch import Tensor

from effvit_mm.depth.heads import resize
from effvit_mm.registry import MODELS

MODES = ("whole", "whole_flip", "slide", "slide_flip")


@MODELS.register_module()
class MonoDepthEstimator(DepthEstimator):
    """Backbone, neck and depth head; arguments as mmseg's ``DepthEstimator``.

    ``test_cfg.mode`` is one of

    - ``'whole'``: the picture at once;
    - ``'whole_flip'``: the mean of that and of the prediction on the mirrored picture, mirrored back, as AdaBins is
      evaluated (BTS predicts once; NeWCRFs takes one of the two near the left and right edges, and blends);
    - ``'slide'``, ``'slide_flip'``: the same over windows of ``test_cfg.crop_size``, every ``test_cfg.stride`` pixels.

    Differs from mmseg's: ``'whole_flip'`` is new; ``'slide'`` slides (there it predicts the whole picture); the head
    returns metres at its own resolution and is resized to the picture here, so pictures of any size are predicted.

    Raises:
        ValueError: On another mode, or a sliding one without its window.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        mode = (self.test_cfg or {}).get("mode", "whole")
        if mode not in MODES:
            raise ValueError(f"test_cfg.mode={mode!r} is not allowed; pass one of {', '.join(MODES)}")
        if mode.startswith("slide") and not {"crop_size", "stride"} <= self.test_cfg.keys():
            raise ValueError(f"test_cfg.mode={mode!r} needs crop_size=(H, W) and stride=(H, W), in pixels")
        self.mode = mode

    def encode_decode(self, inputs: Tensor, batch_img_metas: Sequence[dict]) -> Tensor:
        """Predict metres ``(B, 1, H, W)`` for pictures ``(B, 3, H, W)``."""
        return resize(self.decode_head(self.extract_feat(inputs)), inputs.shape[-2:])

    def inference(self, inputs: Tensor, batch_img_metas: Sequence[dict]) -> Tensor:
        """Predict as the mode says; mmseg's sliding notes the window's size in the meta, which is given copies."""
        infer: Callable = self.slide_inference if self.mode.startswith("slide") else self.whole_inference
        depth = infer(inputs, [dict(meta) for meta in batch_img_metas])
        if not self.mode.endswith("flip"):
            return depth
        mirrored = infer(inputs.flip(-1), [dict(meta) for meta in batch_img_metas])
        return (depth + mirrored.flip(-1)) / 2
