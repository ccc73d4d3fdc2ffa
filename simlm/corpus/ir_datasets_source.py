"""A collection of ir_datasets (https://ir-datasets.com): real ids, repaired encodings, checked downloads."""

from __future__ import annotations

import os
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from typing import Any

from simlm.config.corpora import WITH_ANSWERS, IrDatasets
from simlm.corpus.questions import plain_question, read_questions
from simlm.corpus.records import Answers, Collection, Judgement, Passage, Query, Records, Split
from simlm.errors import UserError, nearest
from simlm.progress import progress

# A copy in <home>/downloads/<md5> is used for small files too; by default ir_datasets asks the network for those.
os.environ.setdefault("IR_DATASETS_SMALL_FILE_SIZE", "0")
if not sys.stderr.isatty():
    # Its progress bars, redrawn ten times a second, would fill a log file.
    os.environ.setdefault("TQDM_MININTERVAL", "30")

if hasattr(tarfile, "data_filter"):
    # Before Python 3.14 a tar archive may write outside the folder it is unpacked to, unless told otherwise.
    tarfile.TarFile.extraction_filter = staticmethod(tarfile.data_filter)


def read_ir_datasets(block: IrDatasets) -> Collection:
    """Look the ids up; documents, queries and judgements are fetched and read as they are asked for.

    Raises
    ------
    UserError
        If an id is unknown or lacks documents, queries or qrels; or, while reading, if a file cannot be fetched: the
        sentence says which address to fetch elsewhere and where to put the file.
    """
    documents = _load(block.passages, "passages", "docs")
    splits: dict[str, Split] = {}
    for name, one in block.splits.items():
        dataset = _load(one, f"splits.{name}", "queries", "qrels")
        queries = Records(lambda dataset=dataset, one=one: _guarded(one, lambda: _queries(dataset, one)), lambda n, one=one: f"{one}, query {n}")
        qrels = Records(lambda dataset=dataset, one=one: _guarded(one, lambda: _judgements(dataset)), lambda n, one=one: f"{one}, judgement {n}")
        splits[name] = Split(queries, qrels)
        if block.has_answers(name):
            answers = Records(lambda dataset=dataset, one=one: _guarded(one, lambda: _answers(dataset)), lambda n, one=one: f"{one}, query {n}")
            splits[name] = Split(queries, qrels, answers)
    splits |= {name: _questions(name, reference) for name, reference in block.questions.items()}
    facts = {
        "source": "ir_datasets",
        "passages": block.passages,
        "splits": block.splits,
        **({"questions": block.questions} if block.questions else {}),
        "titles": block.titles,
        "title_dataset": block.title_source(),
        "versions": {"ir-datasets": metadata.version("ir-datasets")},
    }
    dropped: Counter[str] = Counter()

    def passages() -> Iterator[Passage]:
        plain = _guarded(block.passages, lambda: _passages(documents, block.passages))
        source = block.title_source()
        if source is None:
            return plain
        from simlm.corpus.titles import with_titles

        dropped.clear()
        return with_titles(plain, source, dropped)

    return Collection(Records(passages, lambda n: f"{block.passages}, document {n}"), splits, facts, lambda: dict(dropped))


def fetch(block: IrDatasets) -> dict[str, Any]:
    """Download and unpack all that :func:`read_ir_datasets` reads, by reading the first item of each part; nothing if it is there.

    Raises
    ------
    UserError
        If a file cannot be fetched.
    """
    plain = read_ir_datasets(block.model_copy(update={"titles": "none"}))
    for name, split in progress(list(plain.splits.items()), None, "Fetching queries and judgements", unit="splits"):
        for part in filter(None, split):
            if next(iter(part), None) is None:
                source = block.splits.get(name) or block.questions[name]
                raise UserError(f"corpus: there is nothing in '{source}' for the split '{name}'; delete what was fetched below {_home()} and try again")
    next(iter(plain.passages), None)
    return {"ir_datasets": [block.passages, *block.splits.values()], "home": _home()}


def _load(name: str, key: str, *parts: str) -> Any:
    import ir_datasets

    try:
        dataset = ir_datasets.load(name)
    except KeyError:
        known = list(ir_datasets.registry._registered)
        raise UserError(f"corpus.{key}: ir_datasets has no collection '{name}'{nearest(name, known)} (https://ir-datasets.com lists them)") from None
    for part in parts:
        if not getattr(dataset, f"has_{part}")():
            raise UserError(f"corpus.{key}: the collection '{name}' has no {part}; choose one of its subsets that has (https://ir-datasets.com lists them)")
    return dataset


def _passages(dataset: Any, name: str) -> Iterator[Passage]:
    plain = _unquoted if name.partition("/")[0] == WITH_ANSWERS else str
    for document in dataset.docs_iter():
        text, title = getattr(document, "text", None), getattr(document, "title", None) or ""
        if isinstance(text, str) and isinstance(title, str):
            yield document.doc_id, plain(title), plain(text)
        else:  # collections with other fields say themselves how to join them
            yield document.doc_id, "", document.default_text()


def _unquoted(value: str) -> str:
    """What a CSV writer quoted: DPR's passages are such a file, and ir_datasets cuts its lines at tabs and leaves the quotation marks.

    >>> _unquoted('"the ""Big Dipper"" shines"'), _unquoted("Big Dipper"), _unquoted('"')
    ('the "Big Dipper" shines', 'Big Dipper', '"')
    """
    return value[1:-1].replace('""', '"') if len(value) > 1 and value[0] == value[-1] == '"' else value


def _queries(dataset: Any, name: str) -> Iterator[Query]:
    plain = plain_question if name.partition("/")[0] == WITH_ANSWERS else str
    for query in dataset.queries_iter():
        yield query.query_id, plain(query.default_text())


def _answers(dataset: Any) -> Iterator[Answers]:
    for query in dataset.queries_iter():
        yield query.query_id, query.answers


def _questions(name: str, reference: str) -> Split:
    """A split of questions with answers, from a file or an address; nothing is fetched before it is read."""

    def read(part: int) -> Iterator[Any]:
        yield from read_questions(_questions_file(name, reference), name)[part]

    def records(part: int) -> Records:
        return Records(lambda: read(part), lambda n: f"{reference}, question {n}")

    return Split(records(0), None, records(1))


def _questions_file(name: str, reference: str) -> Path:
    """The file itself, or where an address was or is fetched to.

    Raises
    ------
    UserError
        If it cannot be fetched.
    """
    if not reference.startswith(("https://", "http://")):
        return Path(reference).expanduser()
    from ir_datasets.util.download import Download, RequestsDownload

    place = Path(_home()) / "questions" / reference.rsplit("/", 1)[-1]
    try:
        return Path(Download([RequestsDownload(reference)], cache_path=place).path())
    except Exception as error:  # requests' and ir_datasets' own
        raise UserError(
            f"corpus.questions.{name}: {reference} could not be downloaded ({_one_line(error)}); fetch it where there is a network and save it as {place}"
        ) from error


def _judgements(dataset: Any) -> Iterator[Judgement]:
    for judgement in dataset.qrels_iter():
        yield judgement.query_id, judgement.doc_id, judgement.relevance


def _guarded(name: str, read: Callable[[], Iterable[Any]]) -> Iterator[Any]:
    with _fetching(name):
        yield from read()


@contextmanager
def _fetching(name: str) -> Iterator[None]:
    """Turn a failed download into a sentence that says what to fetch and where to put it."""
    try:
        yield
    except (UserError, GeneratorExit):
        raise
    except Exception as error:
        if isinstance(error, ImportError):
            raise UserError(f"'{name}' needs a package that is not installed ({_one_line(error)})") from error
        url = _failed_url(error)
        if url is None:
            raise UserError(
                f"ir_datasets could not read '{name}' ({type(error).__name__}: {_one_line(error)}); delete its folder below {_home()} and try again"
            ) from error
        md5 = _md5_of(url)
        place = f"save it as {_home()}/downloads/{md5}" if md5 else f"see https://ir-datasets.com/{name.split('/')[0]}.html for where to put it below {_home()}"
        raise UserError(f"'{name}' needs {url}, which could not be downloaded ({_one_line(error)}); fetch it where there is a network and {place}") from error


def _one_line(error: BaseException) -> str:
    text = " ".join(str(error.args[0] if error.args else error).split())
    return text if len(text) <= 160 else f"{text[:160]}…"


def _home() -> str:
    from ir_datasets.util import home_path

    return str(home_path())


def _failed_url(error: BaseException) -> str | None:
    """Address of the download that failed, from requests' exceptions or ir_datasets' list of mirrors."""
    request = getattr(error, "request", None)
    if getattr(request, "url", None):
        return request.url
    mirrors = error.args[1] if len(error.args) > 1 and isinstance(error.args[1], list) else []
    urls = [getattr(mirror, "url", None) for mirror, _ in mirrors]
    return next((url for url in urls if url), None)


def _md5_of(url: str) -> str | None:
    import json
    import pkgutil

    stack = [json.loads(pkgutil.get_data("ir_datasets", "etc/downloads.json") or b"{}")]
    while stack:
        entry = stack.pop()
        if isinstance(entry, dict):
            if entry.get("url") == url:
                return entry.get("expected_md5")
            stack += entry.values()
    return None
