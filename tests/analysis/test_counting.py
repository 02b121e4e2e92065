"""The ledger as a whole: layers, sums, and modules left as they were."""

import pytest
import timm
import torch
from cases import SMALL
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from effvit_mm.analysis import count
from effvit_mm.analysis.counting import _count_run, _count_without_data
from effvit_mm.backbones import AnchorFormer


class Tree(nn.Module):
    """Two layers, one of them inside a child and called twice, and a product of its own."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Linear(3, 5)
        self.body = nn.ModuleList([nn.Sequential(nn.Linear(5, 5), nn.ReLU())])

    def forward(self, x):
        x = self.stem(x)
        for _ in range(2):
            x = self.body[0](x)
        return x @ x.T


def test_costs_belong_to_the_layer_that_runs_and_to_all_above_it():
    ledger = count(Tree(), torch.randn(7, 3))
    macs = {layer: cost.macs for layer, cost in ledger.by_layer().items()}
    assert macs == {
        "": 7 * 15 + 2 * 7 * 25 + 49 * 5,
        "stem": 7 * 15,
        "body": 2 * 7 * 25,
        "body.0": 2 * 7 * 25,
        "body.0.0": 2 * 7 * 25,
        "body.0.1": 0,
    }
    assert macs[""] == ledger.macs


def test_a_depth_cuts_the_names_of_layers():
    assert list(count(Tree(), torch.randn(7, 3)).by_layer(1)) == ["", "stem", "body"]


def test_operations_are_two_for_each_multiply_add():
    ledger = count(nn.Linear(3, 5), torch.randn(7, 3))
    assert ledger.flops == 2 * ledger.macs == 210


def test_parameters_that_layers_share_count_once():
    first, second = nn.Linear(4, 4), nn.Linear(4, 4)
    second.weight = first.weight
    assert count(nn.Sequential(first, second), torch.randn(2, 4)).params == 16 + 4 + 4


def test_a_run_without_data_counts_like_a_real_one():
    backbone, pictures = AnchorFormer(**SMALL, num_anchors=7), torch.randn(2, 3, 45, 70)
    assert _count_without_data(backbone, (pictures,), {}).entries == _count_run(backbone, (pictures,), {}).entries


def test_a_run_without_data_takes_no_memory_of_the_pictures_size():
    backbone = AnchorFormer(**SMALL, num_anchors=7)
    pictures = torch.zeros(1, 1, 1, 1).expand(64, 3, 8192, 8192)
    assert count(backbone, pictures).activation_bytes > 2**37


def test_a_module_whose_path_depends_on_its_data_is_run_for_real():
    class Picky(nn.Linear):
        def forward(self, x):
            return super().forward(x[x[:, 0] > 0])

    rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0]])
    assert count(Picky(2, 5), rows).macs == 2 * 10


def test_the_module_keeps_its_modes_hooks_weights_and_caches():
    class Caching(nn.Linear):
        cache = None

        def forward(self, x):
            self.cache = x.sum() if self.cache is None else self.cache
            return super().forward(x) + self.cache

    module = nn.Sequential(Caching(3, 5), nn.BatchNorm1d(5).eval()).train()
    module[1].eval()
    weights = {name: value.clone() for name, value in module.state_dict().items()}
    count(module, torch.randn(4, 3))
    assert module.training
    assert not module[1].training
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())
    assert all(value.equal(weights[name]) for name, value in module.state_dict().items())
    assert module[0].cache is None
    assert torch.isfinite(module(torch.randn(4, 3))).all()


def test_an_error_of_the_module_is_its_own_and_leaves_no_hook():
    module = nn.Sequential(nn.Linear(3, 5), nn.Linear(4, 2))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        count(module, torch.randn(2, 3))
    assert not any(child._forward_hooks or child._forward_pre_hooks for child in module.modules())
    assert module.training


def test_a_compiled_operator_of_mmcv_is_listed_as_not_counted(monkeypatch):
    import sys
    from types import ModuleType

    extension = ModuleType("mmcv._ext")
    extension.__file__ = "_ext.so"
    monkeypatch.setitem(sys.modules, "mmcv._ext", extension)

    class DeformConv2d(nn.Identity):
        __module__ = "mmcv.ops.deform_conv"

    assert count(nn.Sequential(DeformConv2d()), torch.randn(2, 3)).unknown() == {"mmcv.ops.DeformConv2d": 1.0}


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "convnext_atto",
        "mobilenetv3_small_050",
        "pvt_v2_b0",
        "vit_tiny_patch16_224",
        "swin_tiny_patch4_window7_224",
    ],
)
def test_networks_of_timm_count_as_torchs_counter_counts_them(name):
    with torch.device("meta"):
        network = timm.create_model(name).eval()
        images = torch.randn(2, 3, 224, 224)
    # Attention as products of matrices, since not every release of torch has a formula for each kernel.
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        network(images)
    assert count(network, images).flops == counter.get_total_flops()
