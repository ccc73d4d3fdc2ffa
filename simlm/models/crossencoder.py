"""Cross-encoder: one logit for a (query, passage) pair (paper, section 3.3)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from simlm import metering
from simlm.config.kinds.roles import Reranker
from simlm.errors import UserError
from simlm.hardware import Precision
from simlm.models.batches import MULTIPLE, cut_by_tokens, in_pieces
from simlm.models.first_token import only_first_token
from simlm.models.halving import Halving
from simlm.models.loading import fit_tokenizer, load_tokenizer, load_trained_classifier
from simlm.models.manifest import verified_manifest
from simlm.models.packing import is_packed, use_packing
from simlm.models.pairs import PairJoiner
from simlm.models.text import Tokens, pad

BATCH_TOKENS = 16_384
"""Tokens, padding included, of a batch that is only scored."""


class CrossEncoderModel(nn.Module):
    """Scores padded batches of pairs.

    Parameters
    ----------
    classifier
        A transformers sequence classifier with one label; its last layer is computed for [CLS] alone where the
        architecture allows it.
    """

    def __init__(self, classifier: nn.Module) -> None:
        super().__init__()
        self.classifier = classifier
        only_first_token(classifier)

    def score(self, piece: dict[str, torch.Tensor]) -> torch.Tensor:
        """Raw logits of a padded batch forwarded as it is: fp32, shape (pairs,)."""
        return self.classifier(**piece).logits[:, 0].float()

    def forward(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        """Raw logits of a padded batch, forwarded in pieces of similar length, or as a row; in the batch's order."""
        pieces, places = in_pieces(batch, by_length=not is_packed(self.classifier))
        return torch.cat([self.score(piece) for piece in pieces])[places]


class PairScorer:
    """A trained cross-encoder that scores pairs, quickly and without gradients.

    Parameters
    ----------
    model
        Put into eval mode.
    joiner
        Joins the tokens of queries and passages.
    precision
        Arithmetic of the forward passes; logits are fp32.
    lexical_hints
        Whether its pairs carry BM25's opinion (:class:`simlm.lexical.hints.LexicalHints`).
    """

    def __init__(self, model: CrossEncoderModel, joiner: PairJoiner, precision: Precision, lexical_hints: bool = False) -> None:
        self.model, self.joiner, self.precision, self.lexical_hints = model.eval(), joiner, precision, lexical_hints
        self.pieces = Halving(BATCH_TOKENS, "tokens", "max_length of the re-ranker")

    @classmethod
    def open(cls, folder: str | Path, precision: Precision) -> PairScorer:
        """Load the folder that training a cross-encoder wrote.

        Raises
        ------
        UserError
            If the folder holds no complete cross-encoder.
        """
        manifest = verified_manifest(folder)
        if manifest["kind"] != Reranker.format:
            raise UserError(f"{folder} holds a model of kind {manifest['kind']}, but only a crossencoder scores (query, passage) pairs")
        if "pair" not in manifest["lengths"]:
            raise UserError(f"{folder}: its simlm.json lacks the length of pairs; run simlm train --model {Path(folder).name} again")
        tokenizer, classifier = load_tokenizer(folder), load_trained_classifier(folder)
        fit_tokenizer(tokenizer, classifier, folder)
        model = CrossEncoderModel(classifier)
        if torch.cuda.is_available():
            model.cuda()
        joiner = PairJoiner(tokenizer, manifest["lengths"]["pair"], manifest.get("untitled", "text"))
        return cls(model, joiner, precision, manifest.get("lexical_hints", False))

    def pack(self) -> str | None:
        """Read rows of packed tokens from now on; see :func:`~simlm.models.packing.use_packing`."""
        return use_packing(self.model.classifier)

    def queries(self, texts: Sequence[str]) -> Tokens:
        """Tokens of queries."""
        return self.joiner.queries(texts)

    def passages(self, titles: Sequence[str], texts: Sequence[str]) -> Tokens:
        """Tokens of passages."""
        return self.joiner.passages(titles, texts)

    def score_pairs(self, queries: Tokens, which: np.ndarray, passages: Tokens, hints: np.ndarray | None = None) -> np.ndarray:
        """Raw logits of query ``which[i]`` with passage ``i``, float32."""
        return self.score_tokens(self.joiner.join(queries.take(which), passages, hints))

    def score_tokens(self, pairs: Tokens) -> np.ndarray:
        """Raw logits of joined pairs, float32, in their order."""
        return self.pieces.of(lambda most: self._scored(pairs, most))

    def _scored(self, pairs: Tokens, most_tokens: int) -> np.ndarray:
        scores = np.empty(len(pairs), np.float32)
        for indices, values in self._score_sorted(pairs, most_tokens):
            scores[indices] = values
        return scores

    def score(self, query: str, titles: list[str], texts: list[str], hints: np.ndarray | None = None) -> np.ndarray:
        """Raw logits of one query with passages given as text, float32, shape (passages,)."""
        return self.score_pairs(self.queries([query]), np.zeros(len(texts), np.int64), self.passages(titles, texts), hints)

    def _score_sorted(self, pairs: Tokens, most_tokens: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        device = next(self.model.parameters()).device
        autocast = torch.autocast(device.type, torch.bfloat16, enabled=self.precision.bf16)
        with torch.inference_mode(), autocast:
            for indices in cut_by_tokens(pairs.lengths, most_tokens):
                batch = {name: value.to(device) for name, value in pad(pairs.take(indices), self.joiner.tokenizer, MULTIPLE).items()}
                with metering.computing(int(pairs.lengths[indices].sum()), batch["input_ids"].numel()) as piece:
                    logits = self.model.score(batch)
                    piece.all_told()
                    values = logits.cpu().numpy()
                yield indices, values


def keep_hardest(scores: torch.Tensor, forward_factor: int) -> torch.Tensor:
    """Passages of each group that are forwarded with gradient: the positive, then the hardest negatives.

    Parameters
    ----------
    scores
        Shape (queries, group); the positive comes first.
    forward_factor
        ``group // forward_factor`` passages are kept, at least the positive and one negative.

    Returns
    -------
    torch.Tensor
        int64 positions, shape (queries, kept); the first is 0. Equal scores keep the earlier passage.

    >>> keep_hardest(torch.tensor([[0.0, 1.0, 3.0, 2.0]]), 2)
    tensor([[0, 2]])
    """
    kept = max(2, scores.shape[1] // forward_factor)
    hardest = torch.sort(scores[:, 1:], dim=1, descending=True, stable=True).indices[:, : kept - 1] + 1
    return torch.cat([torch.zeros_like(hardest[:, :1]), hardest], dim=1)
