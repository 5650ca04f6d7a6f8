"""The memory that is free on this machine."""

from __future__ import annotations

import psutil

from specli.llama import library
from specli.pairs.sizing import DeviceMemory, FreeMemory


def free_memory() -> FreeMemory:
    """What is free now, of the machine and of each device that models can be put on."""
    devices = (DeviceMemory(one.name, one.free) for one in library.devices() if one.is_gpu)
    return FreeMemory(psutil.virtual_memory().available, tuple(devices))
