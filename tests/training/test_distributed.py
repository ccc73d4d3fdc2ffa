"""One process with the whole batch and two processes with half of it each give the same loss and gradient."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

from simlm.models.biencoder import BiEncoderModel
from simlm.models.folder import load_encoder, load_tokenizer, save_model
from simlm.models.text import Tokens, pad
from simlm.training.biencoder import BiEncoderTraining

QUERIES, GROUP = 8, 3


def step(folder: str, wrap=lambda module: module, share=slice(None)) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Loss and gradients of one step over a share of the queries."""
    encoder, tokenizer = load_encoder(folder).eval(), load_tokenizer(folder)
    draw = torch.Generator().manual_seed(3)
    texts = [[2, *torch.randint(5, 90, (4,), generator=draw).tolist(), 3] for _ in range(QUERIES * (1 + GROUP))]
    queries, passages = texts[:QUERIES][share], [texts[QUERIES + i] for i in range(QUERIES * GROUP) if i // GROUP in range(QUERIES)[share]]
    rows = (torch.arange(QUERIES * GROUP) % 19).view(QUERIES, GROUP)[share].reshape(-1)  # some passages stand in two groups
    teacher = torch.randn(QUERIES, GROUP, generator=draw)[share]
    module = wrap(BiEncoderTraining(BiEncoderModel(encoder), 0.02, 0.2))
    batch = {name: pad(Tokens.from_lists(part), tokenizer) for name, part in (("queries", queries), ("passages", passages))}
    loss = module(**batch, rows=rows, teacher=teacher)["loss"]
    loss.backward()
    return loss.detach(), {name.removeprefix("module."): value.grad for name, value in module.named_parameters() if value.grad is not None}


def run_worker(folder: str) -> None:
    from torch import distributed
    from torch.nn.parallel import DistributedDataParallel

    torch.set_num_threads(1)
    distributed.init_process_group("gloo")
    rank, size = distributed.get_rank(), QUERIES // distributed.get_world_size()
    loss, gradients = step(folder, DistributedDataParallel, slice(rank * size, (rank + 1) * size))
    if rank == 0:
        torch.save((loss, gradients), os.path.join(folder, "two.pt"))
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_give_the_gradient_of_one(tmp_path, tiny_encoder, word_tokenizer):
    save_model(tmp_path / "m", tiny_encoder, word_tokenizer, kind="biencoder", key="k", lengths={"passage": 16})
    loss, gradients = step(str(tmp_path / "m"))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", __file__, str(tmp_path / "m")]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    two_loss, two_gradients = torch.load(tmp_path / "m" / "two.pt", weights_only=True)
    torch.testing.assert_close(two_loss, loss, atol=1e-5, rtol=1e-5)
    assert two_gradients.keys() == gradients.keys()
    assert gradients["model.encoder.embeddings.word_embeddings.weight"].abs().max() > 0
    for name, gradient in gradients.items():
        torch.testing.assert_close(two_gradients[name], gradient, atol=1e-5, rtol=1e-3, msg=lambda text, name=name: f"{name}: {text}")


if __name__ == "__main__":
    run_worker(sys.argv[1])
