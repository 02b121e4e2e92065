"""Joules of an NVIDIA GPU, from its own counter."""

import importlib
from typing import Any


class EnergyMeter:
    """Reads the energy counter of one GPU through NVML.

    Args:
        device: ``'cuda'`` or ``'cuda:1'``; any other device has no meter.

    Attributes:
        missing: Why there is no meter, or ``''``.
    """

    def __init__(self, device: str) -> None:
        self.missing = ""
        self._handle: Any = None
        if not device.startswith("cuda"):
            self.missing = f"energy is read on NVIDIA GPUs alone, not on {device!r}"
            return
        try:
            self._nvml = importlib.import_module("pynvml")
            self._nvml.nvmlInit()
            index = int(device.partition(":")[2] or 0)
            self._handle = self._nvml.nvmlDeviceGetHandleByIndex(index)
            self.joules()
        except ImportError:
            self.missing = "the package nvidia-ml-py (pynvml) is not installed"
        except self._nvml.NVMLError as error:
            self.missing = f"NVML reads no energy of {device!r}: {error}"

    def joules(self) -> float:
        """Return the joules the GPU has taken since its driver was loaded."""
        return self._nvml.nvmlDeviceGetTotalEnergyConsumption(self._handle) / 1e3
