"""What the doctor tries in processes of their own: run as ``python inside.py <group>``, never imported by the doctor.

Each step prints a line of JSON when it begins and one when it is done, so that a step that kills the process is known
too. A step that needs one that failed is not tried.
"""

import importlib
import json
import platform
import sys
import time
from collections.abc import Callable
from typing import Any

Facts = dict[str, Any]
MARK = "\x1edoctor "


def opencv() -> Facts:
    """Import OpenCV, and encode and decode a picture."""
    import cv2
    import numpy as np

    _, encoded = cv2.imencode(".png", np.zeros((4, 6, 3), np.uint8))
    decoded = cv2.imdecode(encoded, cv2.IMREAD_COLOR)
    assert getattr(decoded, "shape", None) == (4, 6, 3), "a picture does not come back in its shape"
    return {"version": cv2.__version__}


def torch_itself() -> Facts:
    """Import torch and multiply."""
    import torch

    (torch.ones(3, 5) @ torch.ones(5, 2)).sum().item()
    return {"version": torch.__version__, "cuda": torch.version.cuda, "threads": torch.get_num_threads()}


def torchvision_itself() -> Facts:
    """Import torchvision."""
    import torchvision

    return {"version": torchvision.__version__}


def _accelerator() -> str | None:
    import torch

    if not hasattr(torch, "accelerator"):  # as old as torch 2.6
        return "cuda" if torch.cuda.is_available() else None
    device = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return device.type if device is not None else None


def nms() -> Facts:
    """Run a compiled operator of torchvision, on the accelerator too if there is one."""
    import torch
    from torchvision.ops import nms as torchvision_nms

    boxes, scores = torch.tensor([[0.0, 0, 9, 9], [0, 0, 9, 8], [20, 20, 30, 30]]), torch.tensor([0.9, 0.8, 0.7])
    devices = ["cpu"] + ([_accelerator()] if _accelerator() == "cuda" else [])
    for device in devices:
        kept = torchvision_nms(boxes.to(device), scores.to(device), 0.5).tolist()
        assert kept == [0, 2], f"torchvision.ops.nms on {device} keeps {kept}, not [0, 2]"
    return {"devices": devices}


def accelerators() -> Facts:
    """Compute on every accelerator that torch sees."""
    import torch

    kind = _accelerator()
    if kind is None:
        return {"kind": None, "names": []}
    names = []
    for index in range(torch.cuda.device_count() if kind == "cuda" else 1):
        device = f"{kind}:{index}"
        (torch.ones(3, 5, device=device) @ torch.ones(5, 2, device=device)).sum().item()
        name = kind
        if kind == "cuda":
            properties = torch.cuda.get_device_properties(index)
            name = f"{properties.name}, {properties.total_memory / 2**30:.0f} GiB"
        names.append(name)
    return {"kind": kind, "names": names, "bf16": torch.cuda.is_bf16_supported() if kind == "cuda" else None}


def pycocotools() -> Facts:
    """Import the compiled part of pycocotools."""
    importlib.import_module("pycocotools.mask")
    return {}


def effvit_mm() -> Facts:
    """Import the toolkit."""
    module = importlib.import_module("effvit_mm")
    return {"version": module.__version__, "file": module.__file__}


def forward() -> Facts:
    """Build the smallest backbone and run it once."""
    import torch

    import effvit_mm

    backbone = effvit_mm.create_backbone("anchorformer_t").eval()
    begin = time.perf_counter()
    with torch.inference_mode():
        maps = backbone(torch.zeros(1, 3, 64, 96))
    assert all(bool(fmap.isfinite().all()) for fmap in maps), "the maps are not finite"
    return {"shapes": [list(fmap.shape) for fmap in maps], "ms": 1000 * (time.perf_counter() - begin)}


def mmdet() -> Facts:
    """Import everything of mmdet that a run needs, and find the stock configs that ours inherit."""
    from mmengine.config import Config

    for name in ("mmdet.models", "mmdet.datasets", "mmdet.evaluation"):
        importlib.import_module(name)
    Config.fromstring("_base_ = ['mmdet::_base_/models/mask-rcnn_r50_fpn.py']", ".py")
    return {}


def mmseg() -> Facts:
    """Import everything of mmseg that a run needs."""
    for name in ("mmseg.models", "mmseg.datasets", "mmseg.evaluation"):
        importlib.import_module(name)
    return {}


def shims() -> Facts:
    """Ask every shim for its state."""
    from effvit_mm import compat

    return {"shims": [[shim.name, shim.active, shim.why] for shim in compat.report()]}


# Step, what it runs, and the step of its group without which it is not tried.
GROUPS: dict[str, list[tuple[str, Callable[[], Facts], str | None]]] = {
    "opencv": [("cv2", opencv, None)],
    "torch": [
        ("torch", torch_itself, None),
        ("torchvision", torchvision_itself, "torch"),
        ("torchvision.ops.nms", nms, "torchvision"),
        ("accelerator", accelerators, "torch"),
    ],
    "toolkit": [
        ("pycocotools", pycocotools, None),
        ("effvit_mm", effvit_mm, None),
        ("forward", forward, "effvit_mm"),
        ("mmdet", mmdet, "effvit_mm"),
        ("mmseg", mmseg, "effvit_mm"),
        ("shims", shims, "effvit_mm"),
    ],
}


def run(group: str) -> None:
    """Run the steps of a group, and print what came of each."""
    failed: set[str] = set()
    for name, step, needs in GROUPS[group]:
        if needs in failed:
            failed.add(name)
            continue
        say({"step": name})
        try:
            result: Facts = {"facts": step()}
        except BaseException as error:  # whatever a library does, SystemExit included, the next step is tried
            failed.add(name)
            missing = error.name if isinstance(error, ModuleNotFoundError) else None
            result = {"error": type(error).__name__, "message": str(error), "missing": missing}
        say({"step": name, **result})


def say(content: Facts) -> None:
    """Print a line that nothing a library prints can be mistaken for."""
    print(f"\n{MARK}{json.dumps(content)}", flush=True)


if __name__ == "__main__":
    if not getattr(sys.flags, "safe_path", False):
        del sys.path[0]  # this folder, whose modules are not for import from here
    if platform.system() == "Linux":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash leaves no core file
    run(sys.argv[1])
