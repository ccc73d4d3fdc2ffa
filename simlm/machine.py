"""The machine that a stage ran on, for its record."""

from __future__ import annotations

import os
import platform
import sys

from simlm.hardware import machine_cores


def describe() -> dict[str, str | int | float]:
    """Facts about the machine for a stage's record; no names, no paths."""
    import psutil

    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo") as stream:
            model = next((line.split(":", 1)[1].strip() for line in stream if line.startswith("model name")), model)
    except OSError:
        pass
    facts: dict[str, str | int | float] = {
        "cpu": model,
        "cores": machine_cores(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30, 1),
        "system": platform.system(),
    }
    if "torch" in sys.modules:
        torch = sys.modules["torch"]
        facts |= arithmetic()
        if torch.cuda.is_available():
            facts |= {"gpu": torch.cuda.get_device_name(), "gpus": torch.cuda.device_count()}
    return facts


LIMITS = ("ATEN_CPU_CAPABILITY", "ONEDNN_MAX_CPU_ISA", "MKL_ENABLE_INSTRUCTIONS", "MKL_CBWR")
"""Variables that keep torch and its libraries from instructions that the processor has."""


def arithmetic() -> dict[str, str | int]:
    """What the last digits of everything that torch computes on a CPU depend on: threads, and the instruction set with its limits."""
    import torch

    limits = [f"{name}={os.environ[name]}" for name in LIMITS if os.environ.get(name)]
    return {"threads": torch.get_num_threads(), "instructions": ", ".join([torch.backends.cpu.get_cpu_capability(), *limits])}
