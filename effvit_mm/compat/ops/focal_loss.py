"""Focal losses under mmcv's signatures, in plain torch.

Reference: Lin et al., Focal Loss for Dense Object Detection, 2017, equation 5.

Differs from mmcv's kernels: ``1 - p`` is computed as ``sigmoid(-x)``. In float32 theirs rounds to zero from x = 17 on,
where the loss of a negative then jumps from 17 to 87. And theirs read beyond the class weights for a label that has
none; here such a label weighs 1.
"""

import torch
from torch import Tensor

from effvit_mm.compat.precision import compute_dtype

# Below it mmcv's kernels take the logarithm of no probability, whatever the type.
_SMALLEST_PROBABILITY = torch.finfo(torch.float32).tiny


def _floored_log(probability: Tensor) -> Tensor:
    return probability.clamp(min=_SMALLEST_PROBABILITY).log()


def _weight_of_labels(weight: Tensor, target: Tensor, dtype: torch.dtype) -> Tensor | float:
    """The class weight of each row's label ``(N,)``; 1 without weights and for labels that are no class."""
    if weight.numel() == 0:
        return 1.0
    is_class = (target >= 0) & (target < weight.numel())
    return torch.where(is_class, weight.to(dtype)[target.clamp(0, weight.numel() - 1)], 1.0)


def _is_label(target: Tensor, num_classes: int) -> Tensor:
    """Whether a column is its row's label, ``(N, C)``; none is where the label is background (``C``) or negative."""
    return target.unsqueeze(1) == torch.arange(num_classes, device=target.device)


def _weigh_rows(loss: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    row_weight = _weight_of_labels(weight, target, loss.dtype)
    return loss * (row_weight.unsqueeze(1) if isinstance(row_weight, Tensor) else row_weight)


def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the focal loss of every logit, each class being a binary question of its own.

    Args:
        input: Logits.
        target: The label of each row; any label outside ``[0, C)`` makes the row negative for all classes.
        weight: A weight for each class, applied to the rows with that label; empty for none.
        output: Written.
        gamma: The focusing exponent.
        alpha: The weight of positives; negatives have ``1 - alpha``.

    Shape:
        input and output ``(N, C)``, target ``(N,)``, weight ``(C,)`` or ``(0,)``.
    """
    logits = input.to(compute_dtype(input))
    p, q = logits.sigmoid(), (-logits).sigmoid()
    positive = -alpha * q**gamma * _floored_log(p)
    negative = -(1 - alpha) * p**gamma * _floored_log(q)
    loss = torch.where(_is_label(target, input.size(1)), positive, negative)
    output.copy_(_weigh_rows(loss, weight, target))


def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative of ``sigmoid_focal_loss_forward`` by each logit.

    Args:
        input: Logits.
        target: The label of each row.
        weight: A weight for each class, or empty.
        grad_input: Written.
        gamma: The focusing exponent.
        alpha: The weight of positives.

    Shape:
        input and grad_input ``(N, C)``, target ``(N,)``, weight ``(C,)`` or ``(0,)``.
    """
    logits = input.to(compute_dtype(input))
    p, q = logits.sigmoid(), (-logits).sigmoid()
    positive = -alpha * q**gamma * (q - gamma * p * _floored_log(p))
    negative = -(1 - alpha) * p**gamma * (gamma * q * _floored_log(q) - p)
    slope = torch.where(_is_label(target, input.size(1)), positive, negative)
    grad_input.copy_(_weigh_rows(slope, weight, target))


def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Write the focal loss of every row, the classes being one question.

    Args:
        input: Probabilities (mmcv takes the softmax before it calls).
        target: The label of each row; the loss of a negative label is zero.
        weight: A weight for each class, or empty.
        output: Written.
        gamma: The focusing exponent.
        alpha: A factor on every loss.

    Shape:
        input ``(N, C)``, target ``(N,)``, weight ``(C,)`` or ``(0,)``, output ``(N,)``.
    """
    dtype = compute_dtype(input)
    p = input.to(dtype).gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
    loss = -alpha * (1 - p) ** gamma * _floored_log(p) * _weight_of_labels(weight, target, dtype)
    output.copy_(loss.masked_fill(target < 0, 0.0))


def softmax_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Write the derivative of ``softmax_focal_loss_forward`` by each logit under the softmax.

    Args:
        input: Probabilities.
        target: The label of each row; rows with a negative label get no gradient.
        weight: A weight for each class, or empty.
        buff: Written: the derivative by the label's logit, over ``1 - p``.
        grad_input: Written.
        gamma: The focusing exponent.
        alpha: A factor on every loss.

    Shape:
        input and grad_input ``(N, C)``, target ``(N,)``, weight ``(C,)`` or ``(0,)``, buff ``(N,)``.
    """
    dtype = compute_dtype(input)
    probabilities = input.to(dtype)
    p = probabilities.gather(1, target.clamp(min=0).unsqueeze(1)).squeeze(1)
    slope = alpha * (gamma * (1 - p) ** (gamma - 1) * p * _floored_log(p) - (1 - p) ** gamma)
    slope = (slope * _weight_of_labels(weight, target, dtype)).masked_fill(target < 0, 0.0)
    buff.copy_(slope)
    grad_input.copy_(slope.unsqueeze(1) * (_is_label(target, input.size(1)).to(dtype) - probabilities))
