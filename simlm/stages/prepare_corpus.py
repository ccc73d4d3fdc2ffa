"""Read passages, queries and judgements from their source into the corpus store, results/<name>/corpus.

The source is the `corpus:` block of the configuration: docstrings of installed packages (python_docs), a collection of
ir_datasets, a folder in BEIR layout, or a Hugging Face data set. Everything that later stages rely on is checked here;
what was left out is counted and printed. See docs/own-data.md for your own data.

    simlm prepare-corpus --config config/config.yaml
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from simlm.context import Context


def prepare_corpus(context: Context) -> None:
    """Write the corpus store and the record, and tell what is in it."""
    from simlm.corpus.prepare import prepare_corpus as read_and_write

    block, paths = context.experiment.corpus, context.paths
    folder = paths.prepared if block.made_queries else paths.corpus
    with context.record("prepare_corpus") as record:
        manifest = read_and_write(block, folder)
        record.outputs["manifest"] = folder / "manifest.json"
        record.metrics = {"passages": manifest["passages"]["count"], **{f"queries/{name}": split["queries"] for name, split in manifest["splits"].items()}}
        record.notes = {"corpus_sha256": manifest["sha256"], "source": manifest["source"], "dropped": _all_dropped(manifest)}
        if own := [own_sentence(name, split) for name, split in manifest["splits"].items() if split["own_passages"]["left_out"]]:
            record.notes["own_passages"] = own
        for sentence in _cautions(manifest):
            record.caution(sentence)
        if manifest["queries_in_several_splits"]:
            record.caution(f"{manifest['queries_in_several_splits']:,} query ids stand in more than one split; a test query that was trained on proves nothing")
    print(summary(manifest))
    print(f"corpus: {folder}")


MANY = 0.01
"""Share of judgements that a collection may lose without a caution: ArguAna lacks five of its 1,406 relevant passages."""


def _cautions(manifest: dict[str, Any]) -> Iterator[str]:
    """What is amiss with the judgements."""
    for name, split in manifest["splits"].items():
        absent, without = split["judgements_of_absent_passages"], split["dropped"].get("judged_queries_without_text", 0)
        if absent > MANY * split["judgements"]:
            yield (
                f"{name}: the corpus lacks the passages of {absent:,} of {split['judgements']:,} judgements; they stay in the ideal ranking of nDCG and "
                "in recall, so that no system can reach 1"
            )
        if without > MANY * (split["queries"] + without):
            yield f"{name}: {without:,} of {split['queries'] + without:,} judged queries have no text and are left out ({split['example_without_text']})"
        if contradicting := split["dropped"].get("contradictory_judgements"):
            yield f"{name}: {contradicting:,} pairs are judged more than once with different grades; the highest counts"


def _all_dropped(manifest: dict[str, Any]) -> dict[str, dict[str, int]]:
    """Counts of what was left out, zeros removed, by split (and ``corpus`` for passages)."""
    every = {"corpus": manifest["dropped"], **{name: split["dropped"] for name, split in manifest["splits"].items()}}
    return {name: {why: count for why, count in counts.items() if count} for name, counts in every.items()}


def own_sentence(name: str, split: dict[str, Any]) -> str:
    """That the passages which are queries themselves are left out of a split's results."""
    shared = split["own_passages"]["shared"]
    return f"{name}: {shared:,} of {split['queries']:,} query ids are ids of passages; a query's own passage is left out of its results (corpus.exclude_query)"


def summary(manifest: dict[str, Any]) -> str:
    """What is in the corpus and what was left out, for a person."""
    facts = manifest["passages"]
    lines = [f"{facts['count']:,} passages of {facts['words_mean']} words on average, {facts['with_title']:,} with a title, {facts['empty']:,} without text"]
    for name, split in manifest["splits"].items():
        lines.append(
            f"{name}: {split['queries']:,} queries, {split['judgements']:,} judgements"
            + (f", {split['answers']:,} queries with answers" if "answers" in split else "")
            + (f", {split['without_relevant']:,} queries without a relevant passage" if split["without_relevant"] else "")
            + (f", {split['judgements_of_absent_passages']:,} judgements of passages that the corpus lacks" if split["judgements_of_absent_passages"] else "")
        )
    for name, split in manifest["splits"].items():
        if split["own_passages"]["left_out"]:
            lines.append(own_sentence(name, split))
    for name, counts in _all_dropped(manifest).items():
        if counts:
            lines.append(f"left out ({name}): " + ", ".join(f"{why.replace('_', ' ')} {count:,}" for why, count in counts.items()))
    lines.append(f"sha256 {manifest['sha256']}")
    return "\n".join(lines)
