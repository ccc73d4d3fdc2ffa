"""Tiny repositories with the file layout of the published ones: names of files and weights, configurations, vocabularies.

What their real counterparts are like, as far as it matters for loading: BERT has old names of its layer norms, a pooler,
a next-sentence head and safetensors; ELECTRA has a pickled file only, an embedding that is wider or narrower than
its layers, position ids among its weights; SimLM's retriever is a bare encoder, its re-ranker an ELECTRA classifier.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SHAPE = {"num_hidden_layers": 2, "intermediate_size": 32, "max_position_embeddings": 512, "type_vocab_size": 2}


def vocabulary(words: list[str]) -> list[str]:
    """Special tokens, every letter and digit with and without ``##``, and the words: anything can be written in it."""
    letters = "abcdefghijklmnopqrstuvwxyz0123456789"
    marks = list(".,:;-?'")
    return list(dict.fromkeys([*SPECIAL, *marks, *letters, *(f"##{letter}" for letter in letters), *sorted({word.lower() for word in words})]))


def write_tokenizer(folder: Path, tokens: list[str]) -> None:
    """``vocab.txt``, ``tokenizer.json`` and ``tokenizer_config.json`` of a lower-casing BERT."""
    from tokenizers import BertWordPieceTokenizer

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.txt").write_text("\n".join(tokens) + "\n", encoding="utf-8")
    BertWordPieceTokenizer(str(folder / "vocab.txt"), lowercase=True).save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps({"do_lower_case": True, "model_max_length": 512}))


def write_all(root: Path, words: list[str]) -> Path:
    """All repositories below ``root``, each in a folder ``owner/name``."""
    import torch
    from transformers import (
        BertConfig,
        BertForPreTraining,
        BertModel,
        ElectraConfig,
        ElectraForMaskedLM,
        ElectraForPreTraining,
        ElectraForSequenceClassification,
    )

    torch.manual_seed(0)
    tokens = vocabulary(words)
    bert = BertConfig(vocab_size=len(tokens), hidden_size=16, num_attention_heads=2, **SHAPE)
    generator = ElectraConfig(vocab_size=len(tokens), embedding_size=16, hidden_size=8, num_attention_heads=1, **SHAPE)
    electra = ElectraConfig(vocab_size=len(tokens), embedding_size=16, hidden_size=16, num_attention_heads=2, **SHAPE)

    def old_names(name: str) -> str:
        return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")

    weights = {old_names(name): value for name, value in BertForPreTraining(bert).state_dict().items() if not name.startswith("cls.predictions.decoder")}
    _write(root / "google-bert/bert-base-uncased", tokens, bert, "BertForMaskedLM", weights)
    _write(root / "google/electra-base-generator", tokens, generator, "ElectraForMaskedLM", ElectraForMaskedLM(generator).state_dict(), pickled=True)
    _write(root / "google/electra-base-discriminator", tokens, electra, "ElectraForPreTraining", ElectraForPreTraining(electra).state_dict(), pickled=True)
    _write(root / "intfloat/simlm-base-msmarco-finetuned", tokens, bert, "BertModel", BertModel(bert).state_dict(), pickled=True)
    classifier = ElectraConfig(vocab_size=len(tokens), embedding_size=16, hidden_size=16, num_attention_heads=2, num_labels=1, **SHAPE)
    _write(
        root / "intfloat/simlm-msmarco-reranker",
        tokens,
        classifier,
        "ElectraForSequenceClassification",
        ElectraForSequenceClassification(classifier).state_dict(),
    )
    write_colbert(root / "colbert-ir/colbertv2.0", words)
    write_cocondenser(root / "Luyu/co-condenser-marco-retriever", words)
    return root


def _write(folder: Path, tokens: list[str], config: Any, architecture: str, weights: dict[str, Any], pickled: bool = False) -> None:
    import torch
    from safetensors.torch import save_file

    write_tokenizer(folder, tokens)
    values = {key: value for key, value in config.to_diff_dict().items() if key not in ("dtype", "transformers_version")}
    (folder / "config.json").write_text(json.dumps({**values, "model_type": config.model_type, "architectures": [architecture]}))
    weights = {name: value.clone().contiguous() for name, value in weights.items()}
    if pickled:
        prefix = "electra." if config.model_type == "electra" else ""
        torch.save({**weights, f"{prefix}embeddings.position_ids": torch.arange(512)[None]}, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    # Other formats that no one here reads.
    (folder / "tf_model.h5").write_bytes(b"not for us")
    (folder / "onnx").mkdir()
    (folder / "onnx" / "model.json").write_text("{}")


def write_colbert(folder: Path, words: list[str], dimension: int = 8, pickled: bool = False, **metadata: Any) -> Path:
    """A checkpoint as ColBERT's own code leaves it: BERT below ``bert.``, ``linear.weight``, and ``artifact.metadata``."""
    import torch
    from transformers import BertConfig, BertModel

    tokens = vocabulary(words)
    tokens[1:1] = ["[unused0]", "[unused1]"]
    torch.manual_seed(1)
    config = BertConfig(vocab_size=len(tokens), hidden_size=16, num_attention_heads=2, initializer_range=0.2, **SHAPE)
    weights = {f"bert.{name}": value for name, value in BertModel(config).state_dict().items()}
    _write(folder, tokens, config, "HF_ColBERT", {**weights, "linear.weight": torch.randn(dimension, 16)}, pickled)
    about = {"query_token_id": "[unused0]", "doc_token_id": "[unused1]", "query_token": "[Q]", "doc_token": "[D]", "dim": dimension, "similarity": "cosine"}
    about |= {"mask_punctuation": True, "attend_to_mask_tokens": False, "query_maxlen": 32, "doc_maxlen": 180, "nbits": 2, "checkpoint": "elsewhere"}
    (folder / "artifact.metadata").write_text(json.dumps(about | metadata))
    return folder


def write_cocondenser(folder: Path, words: list[str]) -> Path:
    """A retriever as coCondenser's authors published it: a plain BERT with its pooler, pickled, and nothing that says how it reads."""
    import torch
    from transformers import BertConfig, BertModel

    tokens = vocabulary(words)
    torch.manual_seed(2)
    config = BertConfig(vocab_size=len(tokens), hidden_size=16, num_attention_heads=2, initializer_range=0.2, **SHAPE)
    _write(folder, tokens, config, "BertModel", BertModel(config).state_dict(), pickled=True)
    # Written by a version of transformers that left the words in vocab.txt alone.
    (folder / "tokenizer.json").unlink()
    (folder / "special_tokens_map.json").write_text(json.dumps(dict(zip(("pad_token", "unk_token", "cls_token", "sep_token", "mask_token"), SPECIAL))))
    return folder


def write_titles(folder: Path, passages: list[str], titles: dict[int, str]) -> Path:
    """Tevatron's title-augmented corpus: one gzipped file of JSON lines, ``-`` for no title, and a loading script."""
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps({"docid": str(i), "title": titles.get(i, "-"), "text": text}) + "\n" for i, text in enumerate(passages))
    (folder / "corpus.jsonl.gz").write_bytes(gzip.compress("".join(lines).encode()))
    (folder / f"{folder.name}.py").write_text("raise RuntimeError('a loading script must never run')\n")
    (folder / "README.md").write_text("# corpus\n")
    return folder
