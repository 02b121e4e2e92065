"""Every mixer and every network compiles whole, for all sizes, and computes what it computes uncompiled."""

import pytest
import torch
from cases import BACKBONES, MIXERS

# What repeats is traced as often as it stands there: few blocks, and what needs few stages has few.
SHALLOW = {
    **{key: dict(depth=2) for key in BACKBONES},
    **{key: dict(depths=(1, 2, 1, 1), out_indices=(0, 1)) for key in ("pyramid", "anchorformer", "hybrid")},
    **{key: dict(depths=(1, 1, 1, 1)) for key in ("pyramid_mixed", "pyramid_surveyed", "lit_ti")},
    "lit": dict(depths=(1, 1, 1, 1), out_indices=(2,)),
    "plain_taps": {},
}
# Cases that take another's way through the code, and another library's windows, are left out.
REPEATED = {
    "window_moved",
    "deformable_unbounded",
    "anchor_cosine",
    "unreduced",
    "channel_group_paper",
    "library_windows",
}


@pytest.fixture(autouse=True)
def _fresh_compiler():
    yield
    torch._dynamo.reset()


def compiled(module, *, dynamic=True):
    """Compile with symbolic sizes and no way out: what cannot be traced is an error."""
    return torch.compile(module, backend="aot_eager", fullgraph=True, dynamic=dynamic)


def assert_close(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("name", sorted(MIXERS.keys() - REPEATED))
def test_a_mixer_compiles_for_all_grids_and_batches(name):
    torch.manual_seed(0)
    mixer = MIXERS[name](24, 3).double().eval()
    fast = compiled(mixer)
    with torch.no_grad():
        for batch, grid in ((2, (6, 10)), (3, (8, 7))):
            tokens = torch.randn(batch, 2 + grid[0] * grid[1], 24, dtype=torch.float64)
            assert_close([fast(tokens, grid, num_prefix=2)], [mixer(tokens, grid, num_prefix=2)])


@pytest.mark.parametrize("name", BACKBONES)
def test_a_network_compiles_for_all_sizes_and_batches(name):
    torch.manual_seed(0)
    backbone = BACKBONES[name](**SHALLOW[name]).double().eval()
    assert backbone.compiles_whole
    fast = compiled(backbone)
    with torch.no_grad():
        for batch, height, width in ((2, 64, 96), (3, 96, 128)):
            images = torch.randn(batch, 3, height, width, dtype=torch.float64)
            assert_close(fast(images), backbone(images))


def test_a_network_compiles_for_a_size_that_no_stride_divides():
    torch.manual_seed(0)
    backbone = BACKBONES["deit"](**SHALLOW["deit"]).double().eval()
    fast = compiled(backbone)
    with torch.no_grad():
        for height, width in ((64, 96), (75, 93)):
            images = torch.randn(2, 3, height, width, dtype=torch.float64)
            assert_close(fast(images), backbone(images))


@pytest.mark.parametrize("name", ["tosa_deit", "evit_deit", "anchorformer"])
def test_a_training_step_compiles(name):
    torch.manual_seed(0)
    backbone = BACKBONES[name](**SHALLOW[name], drop_path_rate=0.0).double().train()
    images, gradients = torch.randn(2, 3, 64, 96, dtype=torch.float64), []
    # At one size: torch 2.14 cannot trace the gradient of resized positions (_upsample_bicubic2d_aa_backward) for all.
    for network in (backbone, compiled(backbone, dynamic=False)):
        backbone.zero_grad()
        generator = torch.Generator().manual_seed(1)
        maps = network(images)
        sum((fmap * torch.randn(fmap.shape, dtype=fmap.dtype, generator=generator)).sum() for fmap in maps).backward()
        # A compiled graph gives zeros to what the maps do not depend on, such as selectors without their own loss.
        gradients.append([torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in backbone.parameters()])
    assert sum(bool(gradient.any()) for gradient in gradients[0]) > 20
    assert_close(*gradients)
