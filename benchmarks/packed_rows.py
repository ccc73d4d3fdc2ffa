"""A training step, forward and backward, on padded batches and on packed rows.

    python benchmarks/packed_rows.py --work retriever --layers 4 --hidden 256 --texts 128 --longest 80
    python benchmarks/packed_rows.py --work pre-training --layers 4 --hidden 256 --texts 64 --longest 48

The two take turns; figures are medians of processor time on a CPU and of wall time on a GPU. Lengths are log-normal, cut at ``--longest``; the
padded retriever cuts its batch into pieces by length, as trainings do, and the padded pre-training is one batch as it comes.
"""

from __future__ import annotations

import argparse
import time
from statistics import median
from types import SimpleNamespace

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import nn
from transformers import BertConfig, BertForMaskedLM, BertModel

from simlm import hardware
from simlm.models.biencoder import BiEncoderModel
from simlm.models.bottleneck import BottleneckModel, BottleneckOptions, labelled_positions
from simlm.models.dropout import use_byte_dropout
from simlm.models.packing import use_packing
from simlm.models.text import Tokens, pad
from simlm.training.biencoder import BiEncoderTraining

TOKENIZER = SimpleNamespace(pad_token_id=0, model_max_length=512, model_input_names=["input_ids", "token_type_ids", "attention_mask"])


def bert(kind: type, arguments: argparse.Namespace, layers: int) -> nn.Module:
    width = arguments.hidden
    size = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": max(1, width // 64), "intermediate_size": 4 * width}
    config = BertConfig(vocab_size=arguments.vocabulary, **size, attention_probs_dropout_prob=0.0)
    config._attn_implementation = hardware.attention_implementation()
    return kind(config, add_pooling_layer=False) if kind is BertModel else kind(config)


def texts(number: int, longest: int, draw: np.random.Generator) -> dict[str, torch.Tensor]:
    lengths = np.clip(draw.lognormal(np.log(0.55 * longest), 0.6, number).astype(int), 4, longest)
    return pad(Tokens.from_lists([[2, *draw.integers(5, 1000, length - 2).tolist(), 3] for length in lengths]), TOKENIZER, 8)


def module_and_batch(arguments: argparse.Namespace) -> tuple[nn.Module, dict]:
    torch.manual_seed(0)
    draw = np.random.default_rng(0)
    passages = texts(arguments.texts, arguments.longest, draw)
    if arguments.work == "retriever":
        batch = {"queries": texts(arguments.texts // 2, 32, draw), "passages": passages, "rows": torch.arange(arguments.texts)}
        return BiEncoderTraining(BiEncoderModel(bert(BertModel, arguments, arguments.layers)), 0.05), batch
    mask = passages["attention_mask"]
    masked = [(torch.rand(mask.shape) < share) & mask.bool() for share in (0.3, 0.5)]
    batch = {"tokens": passages["input_ids"], "token_types": passages["token_type_ids"], "attention_mask": mask, "draws": torch.rand(2, *mask.shape)}
    batch |= {"encoder_masked": masked[0], "decoder_masked": masked[1], "mask_id": 4}
    batch["labelled"] = torch.from_numpy(labelled_positions(mask.numpy() == 0, 1.0, mask.numpy()))
    models = (bert(BertForMaskedLM, arguments, layers) for layers in (arguments.layers, max(1, arguments.layers // 3)))
    return BottleneckModel(*models, BottleneckOptions(decoder_layers=min(2, arguments.layers))), batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", choices=["retriever", "pre-training"], default="retriever")
    for name, value in {"layers": 4, "hidden": 256, "texts": 128, "longest": 80, "vocabulary": 4096, "threads": 1, "repeats": 4}.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    arguments = parser.parse_args()
    hardware.prepare(arguments.threads)
    device, precision = torch.device("cuda" if torch.cuda.is_available() else "cpu"), hardware.choose_precision("auto")
    modules = {}
    for way in ("padded", "packed"):
        module, batch = module_and_batch(arguments)
        use_byte_dropout(module)
        for part in module.modules() if way == "packed" else ():
            if isinstance(part, BertModel):
                use_packing(part)
        modules[way] = module.train().to(device)
    batch, seconds = send_to_device(batch, device), {way: [] for way in modules}
    for _ in range(arguments.repeats + 1):
        for way, module in modules.items():
            start = time.process_time() if device.type == "cpu" else time.perf_counter()
            with torch.autocast(device.type, torch.bfloat16, enabled=precision.bf16):
                loss = module(**batch)["loss"]
            loss.backward()
            module.zero_grad()
            if device.type != "cpu":
                torch.cuda.synchronize()
            seconds[way].append((time.process_time() if device.type == "cpu" else time.perf_counter()) - start)
    found = {way: median(own[1:]) for way, own in seconds.items()}
    mask = batch["passages"]["attention_mask"] if arguments.work == "retriever" else batch["attention_mask"]
    print(f"{device.type}, {precision.name}: {float(mask.float().mean()):.0%} of the places are tokens")
    print(", ".join(f"{way} {value:.3f} s" for way, value in found.items()), f"ratio {found['padded'] / found['packed']:.2f}")


if __name__ == "__main__":
    main()
