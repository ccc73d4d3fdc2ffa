"""A re-ranker that reads BM25's hints: training, teacher scores and re-ranking give the model the same input."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from finetuning import QUERIES, make_context
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from simlm.corpus.store import CorpusStore
from simlm.errors import UserError
from simlm.hardware import Precision
from simlm.lexical.bm25 import Bm25Index, passages_of
from simlm.lexical.hints import LexicalHints
from simlm.models.crossencoder import PairScorer
from simlm.runs.runs import Ranking, read_run, write_trec_run
from simlm.stages.rerank import rerank
from simlm.stages.score_teacher import score_teacher
from simlm.training.crossencoder import train
from simlm.training.queries import training_groups
from simlm.training.teacher_scores import TeacherScores


def test_training_teaching_and_reranking_with_hints(tmp_path, word_tokenizer):
    block = {
        "kind": "crossencoder",
        "negatives": "bm25",
        "steps": 12,
        "batch_size": 8,
        "hard_negatives": 3,
        "max_length": 32,
        "threads": 1,
        "forward_factor": 1,
    }
    student = {"kind": "biencoder", "negatives": "bm25", "teacher": "reranker", "steps": 5, "batch_size": 16, "hard_negatives": 3, "threads": 1}
    context = make_context(tmp_path, word_tokenizer, {"reranker": block | {"lexical_hints": True, "rerank_depth": 6}, "distilled": student})
    paths, store = context.paths, CorpusStore(context.paths.corpus)
    with pytest.raises(UserError, match=r"bm25.manifest.json does not exist"):
        train(context, "reranker")
    index = Bm25Index.build(passages_of(store), "words")
    index.save(paths.bm25, {"corpus_sha256": store.sha256})
    train(context, "reranker")
    assert json.loads((paths.model("reranker") / "simlm.json").read_text())["lexical_hints"] is True

    scorer, queries = PairScorer.open(paths.model("reranker"), Precision("fp32", "test")), store.queries("train")
    assert scorer.lexical_hints
    score_teacher(context, "distilled")
    groups = training_groups(context, context.experiment.models["distilled"], store)
    scores = TeacherScores.read(paths.teacher_scores("distilled"), "distilled", groups, tmp_path)
    query = int(np.setdiff1d(np.arange(QUERIES), groups.holdout(7, 200))[0])
    rows = groups.visit(7, 0, query, 3, "shuffled")
    hinted = LexicalHints(index, [queries[f"q{query}"]])(np.zeros(4, np.int64), rows)
    np.testing.assert_allclose(scores.of(query, rows), scorer.score(queries[f"q{query}"], *store.texts(rows), hinted), atol=1e-4)
    assert not np.allclose(scores.of(query, rows), scorer.score(queries[f"q{query}"], *store.texts(rows), 100 - hinted), atol=1e-4)

    assert '"57 title: text of the passage"' in (paths.model("reranker") / "README.md").read_text()
    tokenizer, model = (kind.from_pretrained(paths.model("reranker")) for kind in (AutoTokenizer, AutoModelForSequenceClassification))
    as_the_card_says = [f"{hint} {title}: {body}" if title else f"{hint} {body}" for hint, title, body in zip(hinted, *store.texts(rows))]
    batch = tokenizer([queries[f"q{query}"]] * 4, as_the_card_says, max_length=32, truncation=True, padding=True, return_tensors="pt")
    with torch.inference_mode():
        np.testing.assert_allclose(model.eval()(**batch).logits[:, 0].numpy(), scores.of(query, rows), atol=1e-4)

    text = store.queries("dev")["d3"]
    write_trec_run(paths.run("bm25", "dev"), [Ranking("d3", np.arange(10), np.linspace(9, 1, 10))], store, tag="bm25")
    rerank(context, "reranker")
    after = next(iter(read_run(paths.run("reranker", "dev"), store)))
    expected = scorer.score(text, *store.texts(np.arange(6)), LexicalHints(index, [text])(np.zeros(6, np.int64), np.arange(6)))
    assert after.passages[:6].tolist() == np.lexsort((np.arange(6), -expected)).tolist()

    hints, rows = LexicalHints(index, [text])(np.zeros(6, np.int64), np.arange(6)), np.arange(6)
    lengths = scorer.joiner.join(scorer.queries([text] * 6), scorer.passages(*store.texts(rows)), hints).lengths
    width = -(-int(lengths.max()) // 8) * 8
    said = json.loads(paths.record("rerank.reranker").read_text())["metrics"]
    assert said["padding"] == round(1 - lengths.sum() / (6 * width), 3), "the six pairs are padded to the longest, in multiples of 8"
    assert 0 <= said["waited"] < 1
