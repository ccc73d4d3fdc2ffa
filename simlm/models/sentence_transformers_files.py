"""The three small files by which sentence-transformers opens a bi-encoder folder as it is."""

from __future__ import annotations

from pathlib import Path

from simlm.files import write_json


def write_sentence_transformers_files(folder: Path, width: int, longest: int) -> None:
    """Describe [CLS] pooling and L2 normalisation of ``width``-dimensional vectors, texts cut to ``longest`` tokens.

    The names of classes and settings are those that sentence-transformers has read since version 2.
    """
    modules = [("0", "", "Transformer"), ("1", "1_Pooling", "Pooling"), ("2", "2_Normalize", "Normalize")]
    write_json(folder / "modules.json", [{"idx": int(i), "name": i, "path": path, "type": f"sentence_transformers.models.{name}"} for i, path, name in modules])
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": longest, "do_lower_case": False})
    pooled = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False}
    write_json(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **pooled})
    write_json(folder / "2_Normalize" / "config.json", {})
    write_json(folder / "config_sentence_transformers.json", {"prompts": {}, "similarity_fn_name": "cosine"})
