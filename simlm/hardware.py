"""What this machine can do: cores, allocator, arithmetic. Each choice keeps its reason as data."""

from __future__ import annotations

import ctypes
import os
import platform
from dataclasses import dataclass

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_ARENA_MAX = -1, -3, -8  # glibc's malloc.h


def machine_cores() -> int:
    """Cores that this machine lends: affinity or cgroup quota, whichever is less."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        with open("/sys/fs/cgroup/cpu.max") as stream:
            quota, period = stream.read().split()
        if quota != "max":
            cores = min(cores, max(1, int(int(quota) / int(period))))
    except (OSError, ValueError):
        pass
    return cores


def available_cores() -> int:
    """Cores this process may use: those of the machine, or OMP_NUM_THREADS (Snakemake's share for the job) if that is less."""
    cores = machine_cores()
    wish = os.environ.get("OMP_NUM_THREADS", "")
    return min(cores, max(1, int(wish))) if wish.isdigit() else cores


def keep_freed_memory() -> bool:
    """Tell glibc to reuse big buffers instead of returning them to the system at every step.

    Page faults made CPU training about three times slower in a trial. Returns whether it applied.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL("libc.so.6")
    # One arena: the backward pass has a thread of its own, which could not reuse what the forward pass freed.
    return all(libc.mallopt(option, value) for option, value in ((M_ARENA_MAX, 1), (M_MMAP_THRESHOLD, 1 << 30), (M_TRIM_THRESHOLD, -1)))


@dataclass(frozen=True)
class Precision:
    """Arithmetic of a process, with the reason for it."""

    name: str
    reason: str

    @property
    def bf16(self) -> bool:
        return self.name == "bf16"


def choose_precision(wanted: str) -> Precision:
    """Resolve ``auto``: bf16 where the hardware has instructions for it.

    >>> choose_precision("fp32")
    Precision(name='fp32', reason='configured')
    """
    if wanted != "auto":
        return Precision(wanted, "configured")
    import torch

    if torch.cuda.is_available():
        if torch.cuda.is_bf16_supported():
            return Precision("bf16", f"{torch.cuda.get_device_name()} supports bf16")
        return Precision("fp32", f"{torch.cuda.get_device_name()} lacks bf16")
    if getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)():
        return Precision("bf16", "the CPU has AVX512-BF16 instructions")
    return Precision("fp32", "the CPU lacks bf16 instructions")


def cpu_has_bf16() -> bool:
    """Whether the processor has instructions for bf16, asked without torch; False where the system does not tell."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as stream:
            return any("avx512_bf16" in line.split() for line in stream if line.startswith("flags"))
    except OSError:
        return False


def gpu() -> str | None:
    """torch's name of the GPU's device, or None; torch is not imported where the system has no driver of one."""
    if not (os.path.exists("/dev/nvidiactl") or os.path.exists("/dev/kfd") or os.path.exists("/dev/dxg")):
        return None
    import torch

    return "cuda" if torch.cuda.is_available() else None


def attention_implementation() -> str:
    """transformers' name of the attention to use: plain matrix products on a CPU, fused elsewhere.

    On a CPU torch's fused attention was four to six times slower than plain products (bf16, forward and backward,
    256 × 64 tokens).
    """
    import torch

    return "sdpa" if torch.cuda.is_available() else "eager"


def granted(threads: int) -> int:
    """At most ``threads``, at least one and no more than there are cores."""
    return max(1, min(threads, available_cores()))


def prepare(threads: int) -> int:
    """Set up torch for a CPU or GPU process: at most ``threads`` threads and no more than there are cores.

    Returns the number of threads set.
    """
    import torch

    keep_freed_memory()
    threads = granted(threads)
    torch.set_num_threads(threads)
    os.environ.setdefault("RAYON_NUM_THREADS", str(threads))
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true" if threads > 1 else "false")
    return threads
