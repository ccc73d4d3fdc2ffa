"""Cross-entropy of a linear layer over a vocabulary without ever holding all logits.

Logits of every token over the vocabulary are the largest tensor of pre-training (2,048 passages × 144 tokens ×
30,522 words are 36 GB in fp32). Here they exist for one chunk of tokens at a time, forward and backward in one
pass, which also keeps them in the CPU's cache.
"""

from __future__ import annotations

import torch

_CHUNK_ELEMENTS = 1 << 21


def linear_cross_entropy(hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of ``hidden @ weight.T + bias`` against ``labels``.

    Parameters
    ----------
    hidden
        Shape (tokens, width).
    weight, bias
        Shapes (vocabulary, width) and (vocabulary,).
    labels
        Shape (tokens,), all valid.

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
        tokens, vocabulary = len(hidden), len(weight)
        accumulate = torch.float64 if dtype == torch.float64 else torch.float32
        wants_gradient = any(ctx.needs_input_grad[:3])
        with torch.autocast(hidden.device.type, enabled=False):
            weight_c, hidden_c = weight.to(dtype), hidden.to(dtype)
            weight_t = weight_c.t().contiguous()
            total = torch.zeros((), dtype=accumulate, device=hidden.device)
            if wants_gradient:
                grad_hidden = torch.empty_like(hidden_c)
                grad_weight = torch.zeros(weight.shape, dtype=accumulate, device=hidden.device)
                grad_bias = torch.zeros(bias.shape, dtype=accumulate, device=hidden.device)
            rows = max(1, _CHUNK_ELEMENTS // vocabulary)
            for start in range(0, tokens, rows):
                piece, label = hidden_c[start : start + rows], labels[start : start + rows, None]
                logits = torch.mm(piece, weight_t).to(accumulate).add_(bias)
                total -= logits.gather(1, label).sum()
                if not wants_gradient:
                    total += logits.logsumexp(1).sum()
                    continue
                top = logits.amax(1, keepdim=True)
                logits.sub_(top).exp_()
                norm = logits.sum(1, keepdim=True)
                total += (norm.log() + top).sum()
                logits.div_(norm * tokens)
                logits.scatter_add_(1, label, torch.full_like(label, -1.0 / tokens, dtype=accumulate))
                grad_bias += logits.sum(0)
                grad_logits = logits.to(dtype)
                torch.mm(grad_logits, weight_c, out=grad_hidden[start : start + rows])
                grad_weight += torch.mm(grad_logits.t(), piece)
        if wants_gradient:
            ctx.save_for_backward(grad_hidden.to(hidden.dtype), grad_weight.to(weight.dtype), grad_bias.to(bias.dtype))
        return total / tokens

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad):
        grad_hidden, grad_weight, grad_bias = ctx.saved_tensors
        return grad_hidden * grad, grad_weight * grad, grad_bias * grad, None, None
