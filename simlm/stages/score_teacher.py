"""Score the passages that a student's training will visit with its teacher.

    simlm score-teacher --config config/smoke.yaml --model distilled

Only the positives and hard negatives that the configured number of epochs really visits are scored, or, where the
scores decide what is visited (denoised lists), all that are listed. The raw logits go to
results/<experiment>/teacher_scores/<student>.parquet, looked up by (query, passage).
"""

from __future__ import annotations

from typing import Annotated

from simlm.context import Context


def score_teacher(context: Context, name: Annotated[str, "the student: a bi-encoder with a teacher, such as distilled"]) -> None:
    """Write the scores of what the student will visit, and the record."""
    import numpy as np

    from simlm import hardware
    from simlm.config.stages import model_seed
    from simlm.corpus.store import CorpusStore
    from simlm.lexical.hints import LexicalHints
    from simlm.models.manifest import model_fingerprint
    from simlm.progress import say
    from simlm.retrieval.prepared import open_scorer
    from simlm.training.biencoder import hard_negatives
    from simlm.training.queries import TrainingQueries
    from simlm.training.schedule import total_steps
    from simlm.training.teacher import listed_passages, score_visited, visited_passages, visits_per_query
    from simlm.training.teacher_scores import write_teacher_scores

    student, experiment, paths = name, context.experiment, context.paths
    settings, seed = experiment.models[student], model_seed(experiment, student)
    teacher, folder = paths.model(settings.teacher), paths.root / "training"
    record, store = context.record("score_teacher", student), CorpusStore(paths.corpus)
    threads, precision = hardware.prepare(settings.threads), hardware.choose_precision(experiment.precision)
    scorer = open_scorer(context, settings.teacher, precision)
    with record:
        trained = TrainingQueries.of(context, settings, seed, store)
        groups, seen = trained.groups, trained.seen
        if settings.teacher_scores_all:
            rows, offsets = listed_passages(groups, folder)
        else:
            epochs = visits_per_query(len(groups), seen, total_steps(settings, len(seen)) * settings.batch_size, seed)
            rows, offsets = visited_passages(groups, epochs, hard_negatives(settings), seed, settings.rotation, folder)
        listed = len(groups.positives) + len(groups.negatives)
        say(f"{settings.teacher} scores {len(rows):,} of {listed:,} listed pairs for {student}: {threads} threads, {precision.name} ({precision.reason}).")
        about = {"student": student, "teacher": settings.teacher, "teacher_sha256": model_fingerprint(teacher), "corpus_sha256": store.sha256}
        hints = LexicalHints.open(context, store, trained.texts) if scorer.lexical_hints else None
        scored = score_visited(scorer, store, groups.query_ids, trained.texts, rows, offsets, folder, hints)
        pairs = write_teacher_scores(paths.teacher_scores(student), scored, about)
        record.metrics |= {"pairs": pairs, "listed_pairs": listed, "queries": int((np.diff(offsets) > 0).sum())}
        record.notes |= {"precision": f"{precision.name}: {precision.reason}", "threads": threads}
        record.outputs["scores"] = paths.teacher_scores(student)
