"""The machine that a stage ran on, for its record."""

from __future__ import annotations

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
        # The last digits of what torch computes on a CPU depend on both.
        facts |= {"threads": torch.get_num_threads(), "instructions": torch.backends.cpu.get_cpu_capability()}
        if torch.cuda.is_available():
            facts |= {"gpu": torch.cuda.get_device_name(), "gpus": torch.cuda.device_count()}
    return facts
