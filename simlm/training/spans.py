"""Span-contrastive pre-training (coCondenser, Gao and Callan, ACL 2022): the [CLS] of two spans of a text must find each other in the batch.

The loss reads all spans of a step, of all processes, at once; the encoder's activations for them would not fit into memory. Gradients are cached
as in GradCache (Gao et al., RepL4NLP 2021): a first pass over pieces of the batch keeps nothing but each span's [CLS]; the loss of all
gives the gradient of each; a second pass over the pieces takes it on into the weights, together with the gradient of the piece's own losses.
Here the second pass is torch's checkpointing, which computes a piece again in the backward pass, with the dropout of the first.
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from simlm.models.text import BLOCK, Tokens
from simlm.training.distributed import gather, scale_gradient
from simlm.training.randomness import uniform

if TYPE_CHECKING:
    from simlm.corpus.store import CorpusStore
    from simlm.models.bottleneck import BottleneckModel
    from simlm.text.token_cache import PassageTokens

_PAIR_STREAM = 6


def span_contrastive_loss(cls: torch.Tensor) -> torch.Tensor:
    """Mean cross-entropy of each span's partner among all other spans, by inner products of the states: no norm, no temperature.

    Parameters
    ----------
    cls
        States of [CLS], shape (2 × texts, width); the spans of text ``k`` are rows ``2 k`` and ``2 k + 1``.

    >>> span_contrastive_loss(torch.tensor([[1.0], [1.0]])).item()
    0.0
    >>> round(span_contrastive_loss(torch.tensor([[2.0], [2.0], [0.0], [0.0]])).item(), 4)  # (log(1 + 2 e^-4) + log 3) / 2
    0.5673
    """
    places = torch.arange(len(cls), device=cls.device)
    scores = (cls @ cls.T).masked_fill(places[:, None] == places, -torch.inf)
    return nn.functional.cross_entropy(scores, places ^ 1)


class SpanContrast(nn.Module):
    """Losses of one step over pairs of spans: those of the bottleneck model, and that between the spans.

    Parameters
    ----------
    model
        Reads corrupted text and restores it.
    weight
        Of the loss between spans.
    """

    def __init__(self, model: BottleneckModel, weight: float = 1.0) -> None:
        super().__init__()
        self.model, self.weight = model, weight

    def forward(self, pieces: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        """One step.

        Parameters
        ----------
        pieces
            This process's spans, partners adjacent, in parts that fit into memory; each is what :class:`BottleneckModel` reads.
        """
        learns = torch.is_grad_enabled()
        cached = learns and len(pieces) > 1
        read = [checkpoint(self.model.read, **piece, use_reentrant=False) if cached else self.model.read(**piece) for piece in pieces]
        states = torch.cat([cls for _, cls in read])
        states = gather(states) if learns else states  # all processes look at the same held-out texts
        with torch.autocast(states.device.type, enabled=False):
            contrast = span_contrastive_loss(states if states.dtype == torch.float64 else states.float())
        means = {name: sum(values[name] for values, _ in read) / len(read) for name in read[0][0] if name != "tokens"}
        loss = means.pop("loss") + self.weight * scale_gradient(contrast)
        tokens = sum(values["tokens"] for values, _ in read)
        return {"loss": loss, **means, "span_loss": contrast.detach(), "tokens": tokens}


class Spans:
    """Texts of two spans or more, and which two of them an epoch sees.

    A passage is cut into as few stretches of equal length as fit; what fits into one is one. The spans of a text are those of one
    passage, or of all passages with one title; texts with a single span are left out.

    Parameters
    ----------
    passages
        Tokens of the corpus without titles, [CLS] and [SEP] around them.
    most
        Tokens of a span, [CLS] and [SEP] included.
    titles
        A number per passage, the same for those with one title; None: each passage is a text.
    """

    def __init__(self, passages: PassageTokens, most: int, titles: np.ndarray | None = None) -> None:
        self.passages = passages
        titles = np.arange(len(passages), dtype=np.uint64) if titles is None else titles
        self.words = np.maximum(passages.lengths.astype(np.int64) - 2, 0)
        self.pieces = -(-self.words // (most - 2))
        self.order = np.argsort(titles, kind="stable")
        self.ends = np.cumsum(self.pieces[self.order])
        last = np.flatnonzero(np.append(np.diff(titles[self.order].astype(np.uint64)) != 0, len(titles) > 0))
        ends = self.ends[last]
        starts = np.concatenate([np.zeros(min(1, len(ends)), np.int64), ends[:-1]])
        enough = ends - starts >= 2
        self.starts, self.counts = starts[enough], (ends - starts)[enough]

    def __len__(self) -> int:
        return len(self.counts)

    def pairs(self, seed: int, items: np.ndarray) -> np.ndarray:
        """Numbers of two different spans of each text, adjacent: shape (2 × items,); an item is (epoch, text)."""
        counts, draws = self.counts[items[:, 1]], uniform(seed, _PAIR_STREAM, items, 2)
        first = (draws[:, 0] * counts).astype(np.int64)
        second = (draws[:, 1] * (counts - 1)).astype(np.int64)
        second += second >= first
        return (self.starts[items[:, 1]][:, None] + np.stack([first, second], axis=1)).reshape(-1)

    def take(self, spans: np.ndarray) -> Tokens:
        """Tokens of spans by number, each between its passage's [CLS] and [SEP]."""
        places = np.searchsorted(self.ends, spans, side="right")
        rows = self.order[places]
        number = spans - (self.ends[places] - self.pieces[rows])
        begins, ends = number * self.words[rows] // self.pieces[rows], (number + 1) * self.words[rows] // self.pieces[rows]
        texts = self.passages.take(rows)
        cut = [(texts[i], begin + 1, end + 1) for i, (begin, end) in enumerate(zip(begins, ends))]
        return Tokens.from_lists([[text[0], *text[begin:end], text[-1]] for text, begin, end in cut])


def title_numbers(store: CorpusStore) -> np.ndarray:
    """A number per passage that passages with one title share; a passage without a title has its own. uint64, shape (passages,)."""
    numbers = np.empty(len(store), np.uint64)
    for start in range(0, len(store), BLOCK):
        rows = range(start, min(start + BLOCK, len(store)))
        keys = (title or f"\0{row}" for row, title in zip(rows, store.texts(rows)[0]))
        numbers[start : rows.stop] = [int.from_bytes(blake2b(key.encode(), digest_size=8).digest(), "little") for key in keys]
    return numbers


class SpanCollator:
    """Pairs of spans in the pieces in which they are forwarded; an item is (epoch, text), from which all randomness follows.

    Parameters
    ----------
    corrupt
        Makes a batch of tokens and the keys of their random numbers.
    most
        Texts of a piece; None: all in one.
    """

    def __init__(self, spans: Spans, corrupt: Callable[[Tokens, np.ndarray], dict[str, Any]], seed: int, most: int | None = None) -> None:
        self.spans, self.corrupt, self.seed, self.most = spans, corrupt, seed, most

    def __call__(self, items: list[tuple[int, int]]) -> dict[str, Any]:
        step = self.most or len(items)
        return {"pieces": [self._piece(np.array(items[start : start + step])) for start in range(0, len(items), step)]}

    def _piece(self, items: np.ndarray) -> dict[str, Any]:
        keys = np.column_stack([np.repeat(items, 2, axis=0), np.tile([0, 1], len(items))])
        return self.corrupt(self.spans.take(self.spans.pairs(self.seed, items)), keys)
