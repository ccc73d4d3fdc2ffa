"""Tokens per second of one pre-training step at the default's shape, on random tokens.

python benchmarks/pretraining_step.py --threads 2 --label-fraction 0.25
"""

from __future__ import annotations

import argparse
import time

import torch
from transformers import BertConfig, BertForMaskedLM

from simlm import hardware
from simlm.models.bottleneck import BottleneckModel, BottleneckOptions


def bert(vocabulary: int, layers: int, hidden: int, heads: int, attention: str) -> BertForMaskedLM:
    """A BERT without dropout."""
    config = BertConfig(
        vocab_size=vocabulary,
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=4 * hidden,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config._attn_implementation = attention
    return BertForMaskedLM(config)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=hardware.available_cores())
    parser.add_argument("--label-fraction", type=float, default=1.0)
    parser.add_argument("--passages", type=int, default=128, help="passages per step")
    parser.add_argument("--length", type=int, default=64, help="tokens per passage")
    parser.add_argument("--vocabulary", type=int, default=8192)
    parser.add_argument("--attention", choices=["eager", "sdpa"], default=hardware.attention_implementation())
    parser.add_argument("--steps", type=int, default=8)
    arguments = parser.parse_args()
    threads = hardware.prepare(arguments.threads)
    torch.manual_seed(0)
    shape = (arguments.passages, arguments.length)
    model = BottleneckModel(
        bert(arguments.vocabulary, 3, 128, 4, arguments.attention), bert(arguments.vocabulary, 2, 64, 2, arguments.attention), BottleneckOptions()
    ).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4, fused=True)
    bf16 = hardware.choose_precision("auto").bf16
    for step in range(arguments.steps + 2):
        if step == 2:
            start = time.perf_counter()
        tokens, draw = torch.randint(5, arguments.vocabulary, shape), torch.rand(shape)
        batch = {
            "tokens": tokens,
            "token_types": torch.zeros_like(tokens),
            "attention_mask": torch.ones_like(tokens),
            "encoder_masked": draw < 0.3,
            "decoder_masked": draw < 0.5,
            "draws": torch.rand(2, *shape),
            "labelled": (torch.rand(tokens.numel()) < arguments.label_fraction).nonzero()[:, 0],
            "mask_id": 4,
        }
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = model(**batch)["loss"]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    seconds = (time.perf_counter() - start) / arguments.steps
    print(f"threads {threads}  attention {arguments.attention}  label fraction {arguments.label_fraction}  {tokens.numel() / seconds:,.0f} tokens/s")


if __name__ == "__main__":
    main()
