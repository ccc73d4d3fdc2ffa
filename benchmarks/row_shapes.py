"""Time and memory of the vocabulary loss when the number of rows changes from step to step, against a fixed number.

python benchmarks/row_shapes.py
"""

from __future__ import annotations

import subprocess
import sys
import time


def measure(kind: str, steps: int = 240) -> None:
    """Run in a process of its own, so that the peak memory is its own."""
    import psutil
    import torch

    from simlm import hardware
    from simlm.models.linear_cross_entropy import linear_cross_entropy

    hardware.prepare(1)
    layer = torch.nn.Linear(128, 128)
    weight, bias = torch.randn(8192, 128, requires_grad=True), torch.zeros(8192, requires_grad=True)
    start = time.perf_counter()
    for step in range(steps):
        rows = 3584 if kind == "fixed" else 3400 + step * 37 % 200
        hidden = torch.randn(rows, 128, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16):
            linear_cross_entropy(torch.nn.functional.gelu(layer(hidden)), weight, bias, torch.randint(0, 8192, (rows,))).backward()
    memory = psutil.Process().memory_info().rss / 2**20
    print(f"{kind:8} rows: {time.perf_counter() - start:6.1f} s for {steps} steps, {memory:,.0f} MiB")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        measure(sys.argv[1])
    else:
        for one in ("fixed", "changing"):
            subprocess.run([sys.executable, __file__, one], check=True)
