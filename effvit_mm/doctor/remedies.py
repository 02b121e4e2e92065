"""Commands that mend, for the environment, the system and the user at hand."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

CLONE = Path(__file__).resolve().parents[2]
WHEELS = "https://download.pytorch.org/whl"

# What to install for a module, where upstream's distributions are installed and where they are not.
_UPSTREAM = {"mmengine": "mmengine", "mmcv": "mmcv-lite", "mmdet": "mmdet", "mmseg": "mmsegmentation"}
_FORK = {
    "mmengine": "onedl-mmengine",
    "mmcv": "onedl-mmcv",
    "mmdet": "onedl-mmdetection",
    "mmseg": "onedl-mmsegmentation",
}
# What the modules that fail most are called in an index, where the names differ.
_DISTRIBUTION_OF = {
    "cv2": "opencv-python-headless",
    "PIL": "pillow",
    "yaml": "pyyaml",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "dateutil": "python-dateutil",
}


class Remedies:
    """Writes commands for one environment.

    Args:
        installed: The distributions installed, by name; each entry's first item has a ``version``.
    """

    def __init__(self, installed: Mapping[str, Sequence[Any]]) -> None:
        self._installed = installed
        upstream = any(name in installed for name in (*_UPSTREAM.values(), "mmcv", "mmcv-full", "mmpretrain"))
        self._upstream = upstream and not any(name in installed for name in _FORK.values())
        names = _UPSTREAM if self._upstream else _FORK
        prefix = "" if self._upstream else "onedl-"
        # With the fork's distributions, installing the toolkit installs everything it lacks.
        self._by_toolkit = not self._upstream and "effvit-mm" not in installed
        self._distribution_of = {**_DISTRIBUTION_OF, **names, "mmpretrain": f"{prefix}mmpretrain"}

    def pip(self, *arguments: str) -> str:
        """``pip`` of the Python that runs."""
        found = shutil.which("python")
        # Not resolved: in a virtual environment both are links to the same Python outside of it.
        python = "python" if found and Path(found).absolute() == Path(sys.executable).absolute() else sys.executable
        command = shlex.join([python, "-m", "pip", *arguments])
        # Environments made by uv, or with --without-pip, have none.
        return command if self._has("pip") else f"{shlex.join([python, '-m', 'ensurepip'])} && {command}"

    def install_toolkit(self) -> str:
        """Install the clone, beside upstream's distributions without the fork's that own the same import names."""
        without = ["--no-deps"] if self._upstream else []
        return self.pip("install", *without, "-e", str(CLONE))

    def install(self, module: str) -> str:
        """Install a module."""
        if self._by_toolkit:
            return self.install_toolkit()
        if module in ("torch", "torchvision"):
            return self.match_torch()
        return self.pip("install", self._distribution_of.get(module, module))

    def upgrade(self, requirement: str) -> str:
        """Install a requirement in a version that meets it."""
        return self.pip("install", "--upgrade", requirement)

    def reinstall(self, module: str) -> str:
        """Install what brings a module once more, from the index and not from a cache."""
        name = self._distribution_of.get(module, module)
        pinned = f"{name}=={self._installed[name][0].version}" if name in self._installed else name
        return self.pip("install", "--force-reinstall", "--no-deps", "--no-cache-dir", pinned)

    def uninstall_one(self, name: str) -> str:
        """Take away the one installation of a distribution that hides another."""
        return self.pip("uninstall", "-y", name)

    def keep_one(self, names: Sequence[str]) -> str:
        """Keep the first of several distributions: uninstalling one takes files of the other, so all go."""
        kept = f"{names[0]}=={self._installed[names[0]][0].version}"
        return f"{self.pip('uninstall', '-y', *names)} && {self.pip('install', '--no-deps', kept)}"

    def match_torch(self) -> str:
        """Install the torchvision that belongs to the torch there is, from the index that torch came from."""
        if "torch" not in self._installed:
            return self.pip("install", "torch", "torchvision")
        version, _, build = self._installed["torch"][0].version.partition("+")
        index = ["--index-url", f"{WHEELS}/{build}"] if re.fullmatch(r"cpu|cu\d+|rocm[\d.]+|xpu", build) else []
        install = self.pip("install", f"torch=={version}", "torchvision", *index)
        return f"{self.pip('uninstall', '-y', 'torchvision')} && {install}" if self._has("torchvision") else install

    def reinstall_torch(self, build: str = "") -> str:
        """Install torch and torchvision once more, as one of PyTorch's own builds (``cpu``, ``cu126``) or PyPI's."""
        index = ["--index-url", f"{WHEELS}/{build}"] if build else []
        return self.pip("install", "--force-reinstall", "torch", "torchvision", *index)

    def system_libraries_of_opencv(self) -> str:
        """Install what OpenCV's windows need, or an OpenCV without windows where that is not allowed."""
        is_root = hasattr(os, "geteuid") and os.geteuid() == 0
        sudo = "" if is_root else "sudo "
        if is_root or shutil.which("sudo"):
            if shutil.which("apt-get"):
                return f"{sudo}apt-get update && {sudo}apt-get install -y libgl1 libglib2.0-0"
            if shutil.which("dnf"):
                return f"{sudo}dnf install -y mesa-libGL glib2"
        windows = [name for name in ("opencv-python", "opencv-contrib-python") if self._has(name)] or ["opencv-python"]
        headless = self.pip("install", "--force-reinstall", "--no-deps", "opencv-python-headless")
        return f"{self.pip('uninstall', '-y', *windows)} && {headless}"

    def _has(self, name: str) -> bool:
        return name in self._installed


def mend_failure(step: str, message: str, missing_module: str, remedies: Remedies) -> str:
    """The command for a step that failed.

    Args:
        step: What was tried; for an import, the module.
        message: The error's text.
        missing_module: The module that was not found, if that is the error.
        remedies: The commands.
    """
    if missing_module:
        module, _, part = missing_module.partition(".")
        if module == "effvit_mm":
            return remedies.install_toolkit()
        return remedies.reinstall(module) if part else remedies.install(module)
    for pattern, command in (
        (r"lib(GL|gthread|glib|SM|Xext|Xrender|xcb)\S*\.so", remedies.system_libraries_of_opencv),
        (r"torchvision::|torchvision.*(undefined symbol|_C\.so)", remedies.match_torch),
        (r"no kernel image|driver .*too old", lambda: remedies.reinstall_torch("cu126")),
        (r"lib(cu|nccl|nvrtc|nvJitLink|torch|c10|caffe2)\S*\.so", remedies.reinstall_torch),
        (r"compiled using NumPy 1|numpy\.dtype size changed|_ARRAY_API", lambda: remedies.reinstall(step)),
    ):
        if re.search(pattern, message):
            return command()
    if step == "torchvision":
        return remedies.match_torch()
    return remedies.reinstall_torch() if step == "torch" else remedies.reinstall(step)
