"""Seconds and memory of the vocabulary's loss, forward and backward, by how many rows of logits exist at once.

    python benchmarks/vocabulary_loss.py --rows 68 512 1024 --threads 1

The numbers of rows take turns; medians and the least are of processor time, which a busy machine disturbs less than wall time.
"""

from __future__ import annotations

import argparse
import time
from statistics import median

import torch

from simlm import hardware
from simlm.models import linear_cross_entropy as loss


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[68, 512, 1024])
    parser.add_argument("--tokens", type=int, default=64 * 144)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--vocabulary", type=int, default=30522)
    parser.add_argument("--threads", type=int, default=hardware.available_cores())
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    hardware.prepare(arguments.threads)
    torch.manual_seed(0)
    hidden = torch.randn(arguments.tokens, arguments.hidden, requires_grad=True)
    weight = (torch.randn(arguments.vocabulary, arguments.hidden) * 0.02).requires_grad_()
    bias, labels = torch.zeros(arguments.vocabulary, requires_grad=True), torch.randint(0, arguments.vocabulary, (arguments.tokens,))
    precision = hardware.choose_precision("auto")
    seconds: dict[int, list[float]] = {rows: [] for rows in arguments.rows}
    for repeat in range(arguments.repeats + 1):
        for rows, taken in seconds.items():
            loss.rows_at_once = lambda device, words, rows=rows: rows
            start = time.process_time()
            with torch.autocast("cpu", torch.bfloat16, enabled=precision.bf16):
                value = loss.linear_cross_entropy(hidden, weight, bias, labels)
            torch.autograd.grad(value, (hidden, weight, bias))
            if repeat:  # the first time is a warm-up
                taken.append(time.process_time() - start)
    print(f"{precision.name}\n| rows at once | logits MiB | CPU s, median | least |\n|---|---|---|---|")
    for rows, taken in seconds.items():
        print(f"| {rows} | {rows * arguments.vocabulary * 4 / 2**20:.0f} | {median(taken):.2f} | {min(taken):.2f} |")


if __name__ == "__main__":
    main()
