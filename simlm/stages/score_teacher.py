"""Score the passages that a student's training will visit with its teacher, or with several.

    simlm score-teacher --config config/smoke.yaml --model distilled

Only the positives and hard negatives that the configured number of epochs really visits are scored, or, where the
scores decide what is visited (denoised lists, scores from a file, teacher_drop_above), all that are listed. The raw scores go to
results/<experiment>/teacher_scores/<student>.parquet, looked up by (query, passage); those of several teachers are averaged.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated, Any

from simlm.context import Context

if TYPE_CHECKING:
    import numpy as np

    from simlm.corpus.store import CorpusStore
    from simlm.hardware import Precision
    from simlm.records.record import StageRecord
    from simlm.training.queries import TrainingQueries


def score_teacher(context: Context, name: Annotated[str, "the student: a retriever with a teacher, such as distilled"]) -> None:
    """Write the scores of what the student will visit, and the record."""
    from dataclasses import asdict

    import numpy as np

    from simlm import hardware
    from simlm.config.jobs import teacher_scores_all, teachers_of
    from simlm.config.stages import model_seed
    from simlm.corpus.store import CorpusStore
    from simlm.metering import metered
    from simlm.planning.utilisation import known
    from simlm.progress import say
    from simlm.training.false_negatives import Estimate
    from simlm.training.queries import TrainingQueries, hard_negatives
    from simlm.training.schedule import total_steps
    from simlm.training.teacher import listed_passages, visited_passages, visits_per_query
    from simlm.training.teacher_scores import scored_lists, write_teacher_scores
    from simlm.training.teachers import averaged

    student, experiment, paths = name, context.experiment, context.paths
    settings, seed = experiment.models[student], model_seed(experiment, student)
    teachers, folder = list(teachers_of(settings).values()), paths.root / "training"
    record, store = context.record("score_teacher", student), CorpusStore(paths.corpus)
    threads, precision = hardware.prepare(settings.threads), hardware.choose_precision(experiment.precision)
    own = [teacher for teacher in teachers if experiment.system(teacher).scores]
    with record, metered(known(context, own[0], "scoring") if len(own) == 1 else None) as meter:
        trained = TrainingQueries.of(context, student, store)
        groups, seen = trained.groups, trained.seen
        if teacher_scores_all(experiment, student):
            rows, offsets = listed_passages(groups, folder)
        else:
            epochs = visits_per_query(len(groups), seen, total_steps(settings, len(seen)) * settings.batch_size, seed)
            rows, offsets = visited_passages(groups, epochs, hard_negatives(settings), seed, settings.rotation, folder)
        listed = len(groups.positives) + len(groups.negatives)
        said = f"{threads} threads, {precision.name} ({precision.reason})"
        say(f"{' and '.join(teachers)} {'scores' if len(teachers) == 1 else 'score'} {len(rows):,} of {listed:,} listed pairs for {student}: {said}.")
        given = [_scores(context, teacher, store, trained, rows, offsets, precision, record) for teacher in teachers]
        about = {"student": student, "teacher": settings.teacher, "teacher_sha256": _fingerprints(context, teachers), "corpus_sha256": store.sha256}
        estimate = Estimate()
        with meter.working():
            scores = given[0] if len(given) == 1 else averaged(given, offsets, settings.teacher_weights, folder)
            lists = scored_lists(groups.query_ids, rows, offsets, estimate.watching(scores, groups, rows, offsets))
            meter.units = pairs = write_teacher_scores(paths.teacher_scores(student), lists, about)
        record.say_speed(meter.metrics)
        if estimate.compared:
            record.notes["false negatives"] = estimate.sentence(" and ".join(teachers))
            say(f"{record.notes['false negatives']}.")
        record.metrics |= {f"negatives_{what}": count for what, count in asdict(estimate).items()}
        record.metrics |= {"pairs": pairs, "listed_pairs": listed, "queries": int((np.diff(offsets) > 0).sum())}
        record.notes |= {"precision": f"{precision.name}: {precision.reason}", "threads": threads}
        record.outputs["scores"] = paths.teacher_scores(student)


def _scores(
    context: Context,
    teacher: str,
    store: CorpusStore,
    trained: TrainingQueries,
    rows: np.ndarray,
    offsets: np.ndarray,
    precision: Precision,
    record: StageRecord,
) -> Iterator[np.ndarray]:
    """A teacher's scores of the rows of each query in turn, NaN where it has none."""
    import numpy as np

    from simlm.errors import UserError
    from simlm.lexical.hints import LexicalHints
    from simlm.progress import say
    from simlm.retrieval.prepared import open_scorer
    from simlm.runs.given_scores import scores_of_lists
    from simlm.training.teacher import score_visited

    files = context.experiment.system(teacher).reads_files()
    if files:
        path = files["scores"]
        values, counts = scores_of_lists(path, store, trained.groups.query_ids, rows, offsets)
        record.notes[f"scores of {teacher}"] = str(counts)
        say(f"{teacher}, {path}: {counts}.")
        if counts.unknown_queries + counts.unknown_passages > SOME * counts.scores:
            record.caution(f"{teacher}, {path}: {counts}; are its ids those of the corpus?")
        yield from (values[begin:end] for begin, end in zip(offsets[:-1].tolist(), offsets[1:].tolist()))
        return
    scorer = open_scorer(context, teacher, precision)
    hints = LexicalHints.open(context, store, trained.texts) if scorer.lexical_hints else None
    for values in score_visited(scorer, store, trained.texts, rows, offsets, context.paths.root / "training", hints):
        if not np.isfinite(values).all():
            raise UserError(f"{teacher} gives a score that is not a number; it did not train well, look at its losses")
        yield values
    record.note_caution(scorer.pieces.said)


SOME = 0.1
"""Share of a file's scores with unknown ids from which a caution is due."""


def _fingerprints(context: Context, teachers: list[str]) -> Any:
    """Of the weights or the file of the teacher, or a list of them where there are several."""
    from simlm.files import sha256_file
    from simlm.models.manifest import model_fingerprint

    files = [context.experiment.system(teacher).reads_files() for teacher in teachers]
    found = [sha256_file(file["scores"]) if file else model_fingerprint(context.paths.model(teacher)) for teacher, file in zip(teachers, files)]
    return found[0] if len(found) == 1 else found
