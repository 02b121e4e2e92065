"""The selector of ToSA: from attention scores of one layer to the attention map of the next.

Singh et al., "ToSA: Token Selective Attention for Efficient Vision Transformers", arXiv 2406.08816.
"""

from typing import Literal

import torch
from torch import Tensor, nn

from effvit_mm.layers.heads import at_least_fp32
from effvit_mm.layers.removed_parameters import WithoutRemovedParameters

Axis = Literal["key", "flat"]
SelectorInput = Literal["scaled", "raw"]

INITIAL_NOISE = 1e-2


class TokenSelector(WithoutRemovedParameters):
    """Predict the next layer's attention map: two 1-D convolutions with a ReLU between, the heads as their channels.

    A convolution along the keys works at any number of tokens, and costs little: with the keys as channels it would
    cost ``2 h P N^2`` and fix N. With at least ``2 h`` hidden channels it starts as the identity and a little noise,
    so that an untrained selector ranks tokens by the map it is shown.

    Args:
        num_heads: Heads h of both layers.
        hidden: Channels between the convolutions; None for ``2 h``.
        kernel_size: Their width in keys, odd.
        axis: ``'key'``: along the keys of each row; ``'flat'``: along all rows, one after the other.
        selector_input: ``'scaled'``: scores less the largest of their row, which is safe in half precision; ``'raw'``:
            the product of queries and keys itself.

    Shape:
        scores ``(B, h, P, N)``, of P query rows, divided by the root of d; returns log-probabilities over the keys,
        ``(B, h, P, N)``, at least fp32.

    Cost:
        ``2 k h R P N`` multiply-adds with kernel size k and R hidden channels; ``O(R P N)`` memory.

    Raises:
        ValueError: If a number or a name is not allowed.

    Reference:
        arXiv 2406.08816: two 1-D convolutions, a ReLU, log-softmax, on un-normalised scores.

    Differs from the paper:
        Kernel size, hidden channels, axis and initial values are not published; these are ours. The scores of the
        default input have been scaled. The second convolution has no bias: the softmax takes it out.
    """

    removed_parameters = ("conv2.bias",)  # a shift of all keys, which the softmax takes out

    def __init__(
        self,
        num_heads: int,
        *,
        hidden: int | None = None,
        kernel_size: int = 3,
        axis: Axis = "key",
        selector_input: SelectorInput = "scaled",
    ) -> None:
        super().__init__()
        hidden = 2 * num_heads if hidden is None else hidden
        if hidden < 1:
            raise ValueError(f"hidden={hidden} must be at least 1 channel, or None for twice the heads")
        if kernel_size < 1 or kernel_size % 2 == 0:
            raise ValueError(f"kernel_size={kernel_size} must be odd and at least 1, such as 3")
        if axis not in ("key", "flat"):
            raise ValueError(f"axis={axis!r} must be 'key' or 'flat'")
        if selector_input not in ("scaled", "raw"):
            raise ValueError(f"selector_input={selector_input!r} must be 'scaled' or 'raw'")
        self.axis = axis
        self.selector_input = selector_input
        # 1-D convolutions written as 2-D ones: rows stay a dimension of their own, and nothing is transposed.
        window, border = (1, kernel_size), (0, kernel_size // 2)
        self.conv1 = nn.Conv2d(num_heads, hidden, window, padding=border)
        self.conv2 = nn.Conv2d(hidden, num_heads, window, padding=border, bias=False)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw both convolutions; with enough channels they let the scores through as ``relu(s) - relu(-s)``."""
        num_heads, hidden = self.conv1.in_channels, self.conv1.out_channels
        for conv in (self.conv1, self.conv2):
            conv.reset_parameters()
        if hidden < 2 * num_heads:
            return
        middle = self.conv1.kernel_size[1] // 2
        for parameter in self.parameters():
            nn.init.normal_(parameter, std=INITIAL_NOISE)
        for head in range(num_heads):
            for sign, channel in ((1.0, 2 * head), (-1.0, 2 * head + 1)):
                self.conv1.weight[channel, head, 0, middle] += sign
                self.conv2.weight[head, channel, 0, middle] += sign

    def forward(self, scores: Tensor, head_dim: int) -> Tensor:
        """Predict the log of the next map ``(B, h, P, N)``; ``head_dim`` is d, by whose root the scores were divided.

        The scores are taken as they are given: no gradient leaves by them.
        """
        scores = scores.detach()
        if self.selector_input == "raw":
            scores = scores * head_dim**0.5
        else:
            scores = scores - scores.amax(dim=-1, keepdim=True)
        shown = scores.flatten(2)[:, :, None] if self.axis == "flat" else scores
        predicted = self.conv2(self.conv1(shown).relu()).view_as(scores)
        return at_least_fp32(predicted).log_softmax(dim=-1)
