"""The operators of torch, by what they do: the lines of the cost ledger and the formula of each.

The names are those that reach torch's dispatcher, with the namespace and without the overload: ``aten::bmm``. One
multiply-add counts 1. Every formula reads shapes alone, so a run without data is counted like a real one.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

LINEAR = "linear"
MATMUL = "matmul"
CONVOLUTION = "convolution"
DEPTHWISE = "depth-wise convolution"
TRANSPOSED = "transposed convolution"
DEFORMABLE = "deformable convolution"
ATTENTION = "attention"
GATHERING = "gather and scatter"
CREATION = "creation"
UNKNOWN = "unknown"

TOTAL_LINES = (LINEAR, MATMUL, CONVOLUTION, DEPTHWISE, TRANSPOSED, DEFORMABLE, ATTENTION)
"""The lines whose multiply-adds make the total; those of the others stand beside it."""

Arguments = Mapping[str, Any]
Lines = dict[str, int]
"""Multiply-adds of one call, by line: a fused operator may belong to several."""

Formula = Callable[[Arguments, Sequence[Tensor]], Lines]


def attention_macs(query: Sequence[int], key: Sequence[int], value: Sequence[int]) -> int:
    """Multiply-adds of softmax attention from three shapes.

    Args:
        query: ``(..., N_q, d)``.
        key: ``(..., N_k, d)``; fewer heads than the query's share their keys and cost the same.
        value: ``(..., N_k, d_v)``.

    Returns:
        ``heads * N_q * N_k * (d + d_v)`` over the whole batch; masks and causality save nothing here.
    """
    batches = max(math.prod(query[:-2]), math.prod(key[:-2]), math.prod(value[:-2]))
    return batches * query[-2] * key[-2] * (query[-1] + value[-1])


def _product(left: str, right: str) -> Formula:
    """A product of matrices, or stacks of them: every place of the left one meets every column of the right one."""

    def formula(arguments: Arguments, outputs: Sequence[Tensor]) -> Lines:
        columns = arguments[right].shape[-1] if arguments[right].ndim > 1 else 1
        return {MATMUL: arguments[left].numel() * columns}

    return formula


def _outer_product(arguments: Arguments, outputs: Sequence[Tensor]) -> Lines:
    return {MATMUL: arguments["vec1"].numel() * arguments["vec2"].numel()}


def _euclidean_distances(arguments: Arguments, outputs: Sequence[Tensor]) -> Lines:
    """Distances by one product of matrices, of points with two channels more: their squared norm and a one."""
    return {MATMUL: outputs[0].numel() * (arguments["x1"].shape[-1] + 2)}


def _distances(arguments: Arguments, outputs: Sequence[Tensor]) -> Lines:
    """Distances pair by pair, without a product of matrices: a power of a difference and its addition each channel."""
    points = arguments["x1"] if "x1" in arguments else arguments["self"]
    return {"distances": outputs[0].numel() * points.shape[-1]}


def _convolution(arguments: Arguments, outputs: Sequence[Tensor]) -> Lines:
    fmap, weight, groups = arguments["input"], arguments["weight"], arguments["groups"]
    window = math.prod(weight.shape[1:])
    if arguments["transposed"]:
        return {TRANSPOSED: fmap.numel() * window}
    depthwise = groups > 1 and groups == fmap.shape[1]
    return {DEPTHWISE if depthwise else CONVOLUTION: outputs[0].numel() * window}


def _fused_attention(arguments: Arguments, outputs: Sequence[Tensor]) -> Lines:
    return {ATTENTION: attention_macs(*(arguments[name].shape for name in ("query", "key", "value")))}


def _deformable_convolution(arguments: Arguments, outputs: Sequence[Tensor]) -> Lines:
    weight, places = arguments["weight"], outputs[0].numel() // outputs[0].shape[1]
    samples = places * math.prod(weight.shape[2:]) * arguments["input"].shape[1]
    product = outputs[0].numel() * math.prod(weight.shape[1:])
    return {DEFORMABLE: product, "deformable sampling": samples * (5 if arguments["use_mask"] else 4)}


def _grid_sampling(arguments: Arguments, outputs: Sequence[Tensor]) -> Lines:
    dimensions = outputs[0].ndim - 2
    neighbours = {0: 2**dimensions, 1: 0, 2: 4**dimensions}[arguments["interpolation_mode"]]
    return {"grid sampling": outputs[0].numel() * neighbours}


def _embedding_bag(arguments: Arguments, outputs: Sequence[Tensor]) -> Lines:
    weighted = arguments.get("per_sample_weights") is not None
    return {"embedding-bag sampling": arguments["indices"].numel() * arguments["weight"].shape[1] * weighted}


def _interpolation(neighbours: int, *, antialias: bool = False) -> Formula:
    """Interpolation from so many places an output; antialiasing widens the window by the down-sampling factor."""

    def formula(arguments: Arguments, outputs: Sequence[Tensor]) -> Lines:
        macs = outputs[0].numel() * neighbours
        if antialias:
            for before, after in zip(arguments["self"].shape[2:], outputs[0].shape[2:], strict=True):
                macs = math.ceil(macs * max(before / after, 1))
        return {"interpolation": macs}

    return formula


def _no_macs(line: str) -> Formula:
    """An operator whose cost is memory traffic."""
    return lambda arguments, outputs: {line: 0}


def _aten(line: str, names: str) -> dict[str, Formula]:
    return {f"aten::{name}": _no_macs(line) for name in names.split()}


FORMULAS: dict[str, Formula] = {
    **{f"aten::{name}": _product("self", "mat2") for name in ("mm", "bmm", "_int_mm", "_scaled_mm")},
    **{f"aten::{name}": _product("mat1", "mat2") for name in ("addmm", "addmm_", "_addmm_activation")},
    **{f"aten::{name}": _product("batch1", "batch2") for name in ("addbmm", "addbmm_", "baddbmm", "baddbmm_")},
    "aten::mv": _product("self", "vec"),
    **{f"aten::{name}": _product("mat", "vec") for name in ("addmv", "addmv_")},
    **{f"aten::{name}": _outer_product for name in ("addr", "addr_")},
    "aten::_euclidean_dist": _euclidean_distances,
    "aten::_cdist_forward": _distances,
    "aten::_pdist_forward": _distances,
    "aten::dot": _product("self", "tensor"),
    "aten::vdot": _product("self", "other"),
    "aten::convolution": _convolution,
    "aten::_convolution": _convolution,
    "aten::convolution_overrideable": _convolution,
    **{
        f"aten::_scaled_dot_product_{backend}": _fused_attention
        for backend in (
            "flash_attention",
            "flash_attention_for_cpu",
            "efficient_attention",
            "cudnn_attention",
            "fused_attention_overrideable",
            "attention_math",
            "attention_math_for_mps",
        )
    },
    "flex_attention": _fused_attention,
    "torchvision::deform_conv2d": _deformable_convolution,
    "aten::grid_sampler_2d": _grid_sampling,
    "aten::grid_sampler_3d": _grid_sampling,
    "aten::_grid_sampler_2d_cpu_fallback": _grid_sampling,
    "aten::_embedding_bag": _embedding_bag,
    "aten::_embedding_bag_forward_only": _embedding_bag,
    "aten::upsample_linear1d": _interpolation(2),
    "aten::upsample_bilinear2d": _interpolation(4),
    "aten::upsample_trilinear3d": _interpolation(8),
    "aten::upsample_bicubic2d": _interpolation(16),
    "aten::_upsample_bilinear2d_aa": _interpolation(4, antialias=True),
    "aten::_upsample_bicubic2d_aa": _interpolation(16, antialias=True),
    **_aten("interpolation", "upsample_nearest1d upsample_nearest2d upsample_nearest3d"),
    **_aten("interpolation", "_upsample_nearest_exact1d _upsample_nearest_exact2d _upsample_nearest_exact3d"),
    **_aten("softmax", "_softmax _log_softmax _safe_softmax"),
    **_aten("norm", "native_layer_norm native_batch_norm native_group_norm cudnn_batch_norm miopen_batch_norm"),
    **_aten("norm", "_native_batch_norm_legit _native_batch_norm_legit_no_training batch_norm_with_update"),
    **_aten("norm", "_batch_norm_with_update _batch_norm_no_update _fused_rms_norm instance_norm"),
    **_aten(GATHERING, "gather index index_select embedding take masked_select unfold"),
    **_aten(GATHERING, "scatter scatter_ scatter_add scatter_add_ scatter_reduce scatter_reduce_"),
    **_aten(GATHERING, "index_put index_put_ _index_put_impl_ index_add index_add_ index_copy index_copy_"),
    **_aten(GATHERING, "index_fill index_fill_ masked_scatter masked_scatter_ put_ put _unsafe_index"),
    **_aten("selection", "topk sort kthvalue multinomial nonzero searchsorted bucketize bincount _unique2 unique_dim"),
    **_aten("selection", "unique_consecutive mode median isin histc argmax argmin"),
    "torchvision::nms": _no_macs("selection"),
    **_aten("pooling", "avg_pool2d avg_pool3d max_pool2d_with_indices max_pool3d_with_indices _adaptive_avg_pool2d"),
    **_aten("pooling", "_adaptive_avg_pool3d adaptive_max_pool2d adaptive_max_pool3d"),
    **{
        f"torchvision::{name}": _no_macs("region pooling")
        for name in ("roi_align", "roi_pool", "ps_roi_align", "ps_roi_pool")
    },
    **_aten("reduction", "sum mean amax amin max min prod any all std std_mean var var_mean norm linalg_vector_norm"),
    **_aten("reduction", "cumsum cumprod logsumexp aminmax nansum logcumsumexp"),
    **_aten("copy", "clone copy_ copy _to_copy cat stack constant_pad_nd repeat roll flip im2col col2im pixel_shuffle"),
    **_aten("copy", "pixel_unshuffle channel_shuffle slice_scatter select_scatter reflection_pad2d replication_pad2d"),
    **_aten("copy", "reflection_pad1d replication_pad1d tril triu diag_embed contiguous _pin_memory rot90 block_diag"),
    **_aten("copy", "split_with_sizes_copy repeat_interleave native_channel_shuffle"),
    **_aten(CREATION, "zeros ones full arange linspace eye zeros_like ones_like full_like new_zeros new_ones new_full"),
    **_aten(CREATION, "randn rand randint randn_like rand_like randperm normal_ uniform_ bernoulli_ random_"),
    **_aten(CREATION, "zero_ fill_ zero fill scalar_tensor tril_indices triu_indices normal exponential_ bernoulli"),
    **_aten("element-wise", "native_dropout _fused_dropout glu hardtanh silu_ clamp_ clamp_min_ where isnan equal"),
    **_aten("element-wise", "floor_divide hardswish hardswish_"),
    **_aten("element-wise", "gelu gelu_ leaky_relu elu celu bitwise_not masked_fill masked_fill_ _prelu_kernel"),
}
"""What a call costs, by operator."""

GATHERS = frozenset(_aten(GATHERING, "gather index index_select embedding take _unsafe_index"))
"""What reads of its source only as much as it writes."""

FREE = frozenset(
    {
        **_aten("free", "empty empty_like empty_strided empty_permuted new_empty new_empty_strided set_ resize_"),
        **_aten("free", "detach detach_ alias lift lift_fresh lift_fresh_copy _unsafe_view _reshape_alias as_strided_"),
        **_aten(
            "free", "squeeze_ unsqueeze_ transpose_ t_ swapaxes_ unsafe_split unsafe_split_with_sizes unsafe_chunk"
        ),
        **_aten("free", "_local_scalar_dense item sym_size sym_stride sym_numel sym_storage_offset is_same_size"),
        **_aten("free", "is_pinned _has_compatible_shallow_copy_type _assert_async _assert_scalar _resize_output_"),
        **_aten("free", "_assert_tensor_metadata"),
    }
) | {"prim::device", "prim::layout"}
"""What moves no data; views are known by their schema and need not stand here."""
