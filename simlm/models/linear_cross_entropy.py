"""Cross-entropy of a linear layer over a vocabulary without ever holding all logits.

Logits of every token over the vocabulary are the largest tensor of pre-training (2,048 passages × 144 tokens ×
30,522 words are 36 GB in fp32). Here they exist for one chunk of tokens at a time, forward and backward in one
pass, which with a small vocabulary also keeps them in the CPU's cache.
"""

from __future__ import annotations

import torch

IGNORED = -100
"""Label of rows that only fill up a batch."""
_CHUNK_ELEMENTS = {"cpu": 1 << 21}
_CHUNK_ELEMENTS_ELSEWHERE = 1 << 27
FEWEST_ROWS = 512
"""Rows of a chunk whatever the vocabulary: each chunk adds to the gradient of all word embeddings, which takes longer than its products if it has few."""


def rows_at_once(device: torch.device, words: int) -> int:
    """Rows of logits over ``words`` words that exist at once: few enough for the cache of a CPU, enough to keep a GPU busy.

    >>> rows_at_once(torch.device("cpu"), 2048), rows_at_once(torch.device("cpu"), 30522), rows_at_once(torch.device("cuda"), 30522)
    (1024, 512, 4397)
    """
    return max(FEWEST_ROWS, _CHUNK_ELEMENTS.get(device.type, _CHUNK_ELEMENTS_ELSEWHERE) // words)


def linear_cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of ``hidden @ weight.T + bias`` against ``labels``.

    Parameters
    ----------
    hidden
        Shape (tokens, width).
    weight, bias
        Shapes (vocabulary, width) and (vocabulary,).
    labels
        Shape (tokens,); rows labelled :data:`IGNORED` do not count.

    Returns
    -------
    torch.Tensor
        Scalar in fp32; differentiable once with respect to hidden, weight and bias. Matrix products run in the
        type autocast would choose, the softmax in fp32.

    >>> h, w, b = torch.eye(2), torch.eye(2), torch.zeros(2)
    >>> round(float(linear_cross_entropy(h, w, b, torch.tensor([0, 1]))), 4)
    0.3133
    """
    return _LinearCrossEntropy.apply(hidden, weight, bias, labels, _compute_dtype(hidden))


def _compute_dtype(tensor: torch.Tensor) -> torch.dtype:
    device = tensor.device.type
    return torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else tensor.dtype


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx, hidden, weight, bias, labels, dtype):
        accumulate = torch.float64 if dtype == torch.float64 else torch.float32
        wants_gradient = any(ctx.needs_input_grad[:3])
        valid = (labels != IGNORED).to(accumulate)[:, None]
        labels, count = labels.clamp(min=0)[:, None], valid.sum().clamp(min=1)
        with torch.autocast(hidden.device.type, enabled=False):
            weight_c, hidden_c = weight.to(dtype), hidden.to(dtype)
            weight_t = weight_c.t().contiguous()
            total = torch.zeros((), dtype=accumulate, device=hidden.device)
            if wants_gradient:
                grad_hidden = torch.empty_like(hidden_c)
                grad_weight = torch.zeros(weight.shape, dtype=accumulate, device=hidden.device)
                grad_bias = torch.zeros(bias.shape, dtype=accumulate, device=hidden.device)
            rows = rows_at_once(hidden.device, len(weight))
            for piece, label, counts, place in zip(hidden_c.split(rows), labels.split(rows), valid.split(rows), range(0, len(labels), rows)):
                logits = torch.mm(piece, weight_t).to(accumulate).add_(bias)
                total -= (logits.gather(1, label) * counts).sum()
                top = logits.amax(1, keepdim=True)
                norm = logits.sub_(top).exp_().sum(1, keepdim=True)
                total += ((norm.log() + top) * counts).sum()
                if not wants_gradient:
                    continue
                # The gradient of the mean: softmax minus the label's indicator, over the number of rows that count.
                logits.mul_(counts / (norm * count))
                logits.scatter_add_(1, label, -counts / count)
                grad_bias += logits.sum(0)
                grad_logits = logits.to(dtype)
                torch.mm(grad_logits, weight_c, out=grad_hidden[place : place + rows])
                grad_weight += torch.mm(grad_logits.t(), piece)
        if wants_gradient:
            ctx.save_for_backward(grad_hidden.to(hidden.dtype), grad_weight.to(weight.dtype), grad_bias.to(bias.dtype))
        return total / count

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        return grad_hidden * grad, grad_weight * grad, grad_bias * grad, None, None
