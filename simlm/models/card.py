"""The model card that lies beside the weights: what the model is, how to use it, how it was made, how good it is."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simlm.errors import UserError
from simlm.files import write_text

if TYPE_CHECKING:
    from simlm.context import Context

CARD = "README.md"

_TAGS = {
    "biencoder": ("sentence-similarity", ["sentence-transformers", "information-retrieval", "simlm"]),
    "crossencoder": ("text-ranking", ["reranker", "information-retrieval", "simlm"]),
    "bottleneck": ("fill-mask", ["information-retrieval", "simlm"]),
    "mlm": ("fill-mask", ["simlm"]),
}

_WHAT = {
    "biencoder": "A bi-encoder (dense retriever): one encoder for queries and passages. The embedding of a text is the last hidden state of its first "
    "token, L2-normalised; a passage's score is the inner product of the two embeddings.",
    "crossencoder": "A cross-encoder (re-ranker): it reads a query and a passage together and gives one logit, the higher the more relevant.",
    "bottleneck": "An encoder pre-trained through a representation bottleneck (SimLM). It does not retrieve yet: fine-tune it as a bi-encoder. Decoder and "
    "language-model head are kept, so that pre-training can go on.",
    "mlm": "A masked language model, the start or the generator of SimLM's pre-training.",
}

_BIENCODER = """
## Usage

With transformers:

```python
import torch
from transformers import AutoModel, AutoTokenizer

folder = "path/to/this/folder"
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()

def embed(length, *texts):
    batch = tokenizer(*texts, max_length=length, truncation=True, padding=True, return_tensors="pt")
    with torch.inference_mode():
        return torch.nn.functional.normalize(model(**batch).last_hidden_state[:, 0], dim=-1)

queries = embed({query}, ["a question"])
passages = embed({passage}, ["title of the passage, or - if it has none"], ["text of the passage"])
print(queries @ passages.T)
```

With sentence-transformers, where a passage is a (title, text) pair:

```python
from sentence_transformers import SentenceTransformer

model = SentenceTransformer("path/to/this/folder")
print(model.encode(["a question"]) @ model.encode([("title", "text of the passage")]).T)
```

sentence-transformers cuts every text at {passage} tokens; training and evaluation cut queries at {query}.
The pooler in the weights is an identity that only keeps `AutoModel` from warning; it plays no part in the embedding.
"""

_CROSSENCODER = """
## Usage

```python
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder = "path/to/this/folder"
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForSequenceClassification.from_pretrained(folder).eval()
batch = tokenizer(["a question"], ["{hint}title: text of the passage"], max_length={pair}, truncation=True, padding=True, return_tensors="pt")
with torch.inference_mode():
    print(model(**batch).logits[:, 0])
```

A passage without a title is its text alone.
"""

_HINTED = """
This model was trained with hints: write before each passage its BM25 score in percent of the best that any passage of the corpus has
for that query, rounded, and 0 where they share no term: `"57 title: text of the passage"`. Without the number its logits mean little.
"""

_MASKED = """
## Usage

```python
from transformers import AutoModelForMaskedLM, AutoTokenizer

folder = "path/to/this/folder"
tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModelForMaskedLM.from_pretrained(folder)
```
"""


def card_text(context: Context, name: str, lengths: dict[str, int]) -> str:
    """Markdown of the card of model ``name``; metrics are listed if it has been evaluated.

    Parameters
    ----------
    lengths
        Longest inputs in tokens, as in ``simlm.json``.
    """
    experiment, settings = context.experiment, context.experiment.models[name]
    task, tags = _TAGS.get(settings.role, ("feature-extraction", ["simlm"]))
    head = ["---", "library_name: " + ("sentence-transformers" if settings.role == "biencoder" else "transformers"), f"pipeline_tag: {task}", "tags:"]
    head += [*(f"- {tag}" for tag in tags), "---", "", f"# {name} ({experiment.name})", "", _WHAT.get(settings.role, f"A model of kind {settings.kind}.")]
    usage = {"biencoder": _BIENCODER, "crossencoder": _CROSSENCODER}.get(settings.role, _MASKED)
    hinted = settings.reads_lexical_index()
    for field, value in {**lengths, "hint": "57 " if hinted else ""}.items():
        usage = usage.replace("{" + field + "}", str(value))
    if hinted:
        usage += _HINTED
    block = json.dumps(settings.model_dump(mode="json"), indent=2, ensure_ascii=False)
    if settings.made_by == "import_model":
        return (
            "\n".join(head)
            + "\n"
            + usage
            + f"\n## Origin\n\nThe published model `{settings.init}`, as it is; nothing was trained here.\n"
            + _metrics(context, name)
        )
    made = f"\n## How it was made\n\nModel `{name}` of the experiment `{experiment.name}`, seed {_seed(context, name)} (method: SimLM, arXiv 2207.02578)."
    corpus = f"\n\nCorpus: {_corpus(context)}\n\n```json\n{block}\n```\n"
    return "\n".join(head) + "\n" + usage + made + corpus + _metrics(context, name)


def add_card(context: Context, name: str, lengths: dict[str, int]) -> Callable[[Path], None]:
    """A function that writes the card into an unfinished model folder (``write`` of :func:`simlm.models.folder.save_model`)."""

    def write(folder: Path) -> None:
        (folder / CARD).write_text(card_text(context, name, lengths), encoding="utf-8")

    return write


def write_card(context: Context, name: str) -> None:
    """Write the card of a finished model again, now with its metrics.

    Raises
    ------
    UserError
        If the model has not been trained.
    """
    from simlm.models.folder import read_manifest

    folder = context.paths.model(name)
    write_text(folder / CARD, card_text(context, name, read_manifest(folder)["lengths"]))


def _seed(context: Context, name: str) -> int:
    from simlm.config.stages import model_seed

    return model_seed(context.experiment, name)


def _corpus(context: Context) -> str:
    manifest = _read(context.paths.corpus / "manifest.json")
    source = f"`{context.experiment.corpus.source}`"
    count = manifest.get("passages", {}).get("count")
    return source if count is None else f"{source}, {count:,} passages (sha256 {manifest.get('sha256', '')[:16]})."


def _metrics(context: Context, name: str) -> str:
    found = [(split, _read(context.paths.metrics(name, split))) for split in context.experiment.evaluate.splits]
    found = [(split, file["metrics"]) for split, file in found if isinstance(file.get("metrics"), dict)]
    if not found:
        return ""
    names = list(found[0][1])
    lines = ["| split | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    lines += [f"| {split} | " + " | ".join(f"{values[metric]:.4f}" if metric in values else "" for metric in names) + " |" for split, values in found]
    return "\n## Results\n\n" + "\n".join(lines) + "\n"


def _read(path: Path) -> dict[str, Any]:
    """A JSON file that may not be there yet: a card never fails for want of a figure."""
    from simlm.files import read_json

    try:
        value = read_json(path, "the stage before")
    except UserError:
        return {}
    return value if isinstance(value, dict) else {}
