"""Shapes of models and what follows from them: parameters, and floating-point operations of a forward pass."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import yaml

from simlm.config.graph import node_of

if TYPE_CHECKING:
    from simlm.config import Experiment

DATA = Path(__file__).with_name("shapes.yaml")

EMBEDDING = 300
"""Operations that take as long as a number of a token's embedding (look-up, sum, normalisation, dropout: waiting for memory); measured on a CPU."""


class Shape(NamedTuple):
    """Shape of a BERT-like encoder; ``embedding`` is the width of the embedding table, 0 where it is ``hidden``."""

    layers: int
    hidden: int
    heads: int
    intermediate: int
    vocabulary: int
    positions: int
    embedding: int = 0

    @property
    def table_width(self) -> int:
        return self.embedding or self.hidden

    def parameters(self) -> int:
        """Weights of the encoder, without pooler and head.

        >>> Shape(12, 768, 12, 3072, 30522, 512).parameters()
        108891648
        """
        width, hidden = self.table_width, self.hidden
        table = (self.vocabulary + self.positions + 2) * width + 2 * width
        projection = width * hidden + hidden if width != hidden else 0
        layer = 4 * (hidden * hidden + hidden) + 2 * hidden * self.intermediate + self.intermediate + hidden + 4 * hidden
        return table + projection + self.layers * layer

    def forward(self, tokens: float, layers: int | None = None, first_only: bool = False) -> float:
        """Floating-point operations of the layers over one text of ``tokens`` tokens; a multiplication with its addition counts as two.

        ``first_only``: the last layer is computed for the first token alone (:mod:`simlm.models.first_token`), whose keys and values are never
        computed either.

        >>> round(Shape(12, 768, 12, 3072, 30522, 512).forward(144) / 1e9, 1)
        25.2
        """
        hidden = self.hidden
        layer = 2 * tokens * (4 * hidden * hidden + 2 * hidden * self.intermediate) + 4 * tokens * tokens * hidden
        projection = 2 * tokens * self.table_width * hidden if self.table_width != hidden else 0
        count = self.layers if layers is None else layers
        if first_only:
            attention = 4 * self.heads * tokens * hidden + 2 * hidden
            return (count - 1) * layer + attention + 2 * (4 * hidden * hidden + 2 * hidden * self.intermediate) + projection
        return count * layer + projection

    def reading(self, tokens: float, first_only: bool = False) -> float:
        """:meth:`forward` of a text from its token ids on, the embeddings included in units of arithmetic."""
        return self.forward(tokens, first_only=first_only) + EMBEDDING * tokens * self.hidden

    def head(self, positions: float) -> float:
        """Operations of the masked-language-model head at ``positions`` positions."""
        return 2 * positions * (self.hidden * self.table_width + self.table_width * self.vocabulary)


class Known(NamedTuple):
    """A shape, and where it comes from when it is not certain."""

    shape: Shape
    assumed: str = ""


def shape_of(experiment: Experiment, name: str) -> Known:
    """Shape of a model of the graph, a local folder or a Hugging Face id; nothing is downloaded."""
    seen: set[str] = set()
    while name in experiment.systems and name not in seen:
        seen.add(name)
        block = experiment.system(name)
        size = getattr(block, "size", None)
        if size is not None:
            return Known(Shape(size.layers, size.hidden, size.heads, size.intermediate, experiment.tokenizer.vocabulary, size.positions))
        # A part that does not say it has the shape of what the model starts from.
        start = block.weights_from() or experiment.system(node_of(name)).weights_from()
        if start is None:
            break
        name = start
    return outside(name)


def outside(name: str) -> Known:
    """Shape of a local folder, by its ``config.json``, or of a published model, by the table beside this module."""
    folder = Path(name).expanduser()
    if (folder / "config.json").is_file():
        return Known(_from_config(json.loads((folder / "config.json").read_text(encoding="utf-8"))))
    default, table = _table()
    known = table.get(name.partition("@")[0])
    return Known(known) if known else Known(table[default], f"the shape of {name} is not known here; {default} is assumed")


@cache
def _table() -> tuple[str, dict[str, Shape]]:
    data = yaml.safe_load(DATA.read_text(encoding="utf-8"))
    return data["default"], {name: Shape(**shape) for name, shape in data["models"].items()}


def _from_config(config: dict) -> Shape:
    """A transformers configuration; DistilBERT has names of its own for the same numbers."""
    hidden = config.get("hidden_size", config.get("dim", 768))
    return Shape(
        layers=config.get("num_hidden_layers", config.get("n_layers", 12)),
        hidden=hidden,
        heads=config.get("num_attention_heads", config.get("n_heads", 12)),
        intermediate=config.get("intermediate_size", config.get("hidden_dim", 4 * hidden)),
        vocabulary=config.get("vocab_size", 30522),
        positions=config.get("max_position_embeddings", 512),
        embedding=config.get("embedding_size", 0) if config.get("embedding_size", hidden) != hidden else 0,
    )
