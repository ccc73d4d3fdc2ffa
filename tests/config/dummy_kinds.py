"""Kinds that no other file knows: one of each role, and one of two parts. ``SIMLM_KINDS=dummy_kinds`` makes them known to a process."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from simlm.config.kinds.base import ModelBlock, System, Training
from simlm.config.kinds.roles import Fused, Pretrained, Reranker, Retriever

SIZE = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32, "max_position_embeddings": 64}


class DummyPretrained(Training, Pretrained):
    """A language model whose objective nobody else knows."""

    kind: Literal["dummy_pretrained"]
    trainer: ClassVar[str] = "dummy_kinds:train"
    noun: ClassVar[str] = "dummy pre-training"
    max_length: int = Field(32, description="Longest passage in tokens.")

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"init": ("pretrained",)}


class DummyRetriever(Training, Retriever):
    """A retriever of its own kind."""

    kind: Literal["dummy_retriever"]
    trainer: ClassVar[str] = "dummy_kinds:train"
    noun: ClassVar[str] = "dummy retriever"
    negatives: str | None = Field(None, description="A system that can be mined.")
    query_length: int = Field(8, description="Longest query in tokens.")
    passage_length: int = Field(24, description="Longest passage in tokens.")

    def reads_negatives(self) -> str | None:
        return self.negatives

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"init": ("pretrained", "encodes"), "negatives": ("mined",)}


class DummyReranker(Training, Reranker):
    """A re-ranker of its own kind."""

    kind: Literal["dummy_reranker"]
    trainer: ClassVar[str] = "dummy_kinds:train"
    noun: ClassVar[str] = "dummy re-ranker"
    rerank: str = Field(description="System whose top passages are re-ranked.")
    rerank_depth: int = Field(20, description="Passages per query.")
    max_length: int = Field(32, description="Longest pair in tokens.")

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"init": ("pretrained", "encodes"), "rerank": ("retrieves",)}


class DummyFusion(ModelBlock, Fused):
    """A fusion of its own kind."""

    kind: Literal["dummy_fusion"]
    made_by: ClassVar[None] = None
    noun: ClassVar[str] = "dummy fusion"
    of: list[str] = Field(description="Systems whose runs are fused.")
    k: int = Field(7, description="Constant.")


class RetrieverPart(Retriever):
    """What the joint training makes for searching."""

    kind: ClassVar[str] = "dummy_joint.retriever"
    noun: ClassVar[str] = "joint retriever"
    query_length: int = Field(8, description="Longest query in tokens.")
    passage_length: int = Field(24, description="Longest passage in tokens.")


class RerankerPart(Reranker):
    """What the joint training makes for re-ranking."""

    kind: ClassVar[str] = "dummy_joint.reranker"
    noun: ClassVar[str] = "joint re-ranker"
    rerank: str = Field(description="System whose top passages are re-ranked.")
    rerank_depth: int = Field(20, description="Passages per query.")
    max_length: int = Field(32, description="Longest pair in tokens.")
    threads: int = Field(1, description="Threads.")
    gpus: int = Field(0, description="GPUs.")

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"rerank": ("retrieves",)}


class DummyJoint(Training):
    """A retriever and a re-ranker that learn together."""

    kind: Literal["dummy_joint"]
    trainer: ClassVar[str] = "dummy_kinds:train"
    noun: ClassVar[str] = "joint training"
    rerank: str = Field(description="System whose top passages the re-ranker sorts.")

    def accepts(self) -> dict[str, tuple[str, ...]]:
        return {"init": ("pretrained", "encodes")}

    def parts(self) -> dict[str, System]:
        return {"retriever": RetrieverPart(), "reranker": RerankerPart(rerank=self.rerank, threads=self.threads)}


def train(context, name: str) -> None:
    """Write every folder of a model with random weights: what a training leaves, without its work."""
    import torch
    from small_vocabulary import word_tokenizer
    from transformers import BertConfig, BertForMaskedLM, BertForSequenceClassification, BertModel

    from simlm.config.graph import folders_of
    from simlm.models.card import add_card
    from simlm.models.folder import save_model

    tokenizer = word_tokenizer()
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(tokenizer), num_labels=1, **SIZE)
    with context.record("train", name) as record:
        for folder in folders_of(context.experiment, name):
            system = context.experiment.system(folder)
            if system.encodes:
                model, lengths = BertModel(config, add_pooling_layer=False), {"query": system.query_length, "passage": system.passage_length}
            elif system.scores:
                model, lengths = BertForSequenceClassification(config), {"pair": system.max_length}
            else:
                model, lengths = BertForMaskedLM(config), {"passage": system.max_length}
            path = context.paths.model(folder)
            save_model(path, model, tokenizer, kind=system.format, key="k", lengths=lengths, write=add_card(context, folder, lengths))
            record.outputs[f"{folder}/weights"] = path / "model.safetensors"
