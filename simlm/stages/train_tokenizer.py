"""Train a WordPiece vocabulary on the corpus, or fetch a published tokenizer (``tokenizer.init``).

Example: simlm train-tokenizer --config config/config.yaml
"""

from __future__ import annotations

from simlm.context import Context


def train_tokenizer(context: Context) -> None:
    """Write the tokenizer's folder and the record."""
    from simlm.corpus.store import CorpusStore
    from simlm.digests import describe
    from simlm.files import atomic_folder, sha256_text, write_json
    from simlm.models.loading import load_tokenizer
    from simlm.models.tokenizer import MANY_UNKNOWN, train_wordpiece, unknown_share
    from simlm.progress import say

    settings, paths = context.experiment.tokenizer, context.paths
    with context.record("train_tokenizer") as record:
        store = CorpusStore(paths.corpus)
        if settings.init:
            tokenizer = load_tokenizer(settings.init)
        else:
            queries = list(store.queries("train").values()) if "train" in store.splits else []
            tokenizer = train_wordpiece(store, settings, queries)
        digest = sha256_text(tokenizer.backend_tokenizer.to_str())
        with atomic_folder(paths.tokenizer) as folder:
            tokenizer.save_pretrained(folder)
            write_json(folder / "manifest.json", {"vocabulary": len(tokenizer), "sha256": digest, "init": settings.init, "files": describe(folder)})
        record.metrics |= {"vocabulary": len(tokenizer), "unknown_tokens": (unknown := round(unknown_share(tokenizer, store), 6))}
        if unknown > MANY_UNKNOWN:
            what = "take a tokenizer of the corpus' language" if settings.init else f"raise tokenizer.vocabulary ({settings.vocabulary:,})"
            record.caution(f"{unknown:.1%} of the corpus' tokens are unknown to the vocabulary, and no model will ever see them; {what}")
        record.outputs["tokenizer"] = paths.tokenizer / "manifest.json"
    say(f"{paths.tokenizer}: {len(tokenizer):,} words, {unknown:.3%} of the corpus' tokens unknown")
