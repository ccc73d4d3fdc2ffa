"""Docstrings of a package made on the spot, read as an installed distribution."""

from __future__ import annotations

import sys
from textwrap import dedent

import pytest
from pydantic import ValidationError

from simlm.config.corpora import PythonDocs
from simlm.corpus import python_docs
from simlm.corpus.prepare import prepare_corpus
from simlm.corpus.python_docs import read_python_docs, split_docstring
from simlm.corpus.store import CorpusStore
from simlm.errors import UserError

REST = " ".join(f"word{n}" for n in range(30))


def docstring(query, rest=REST):
    return f'"""{query}\n\n    {rest}\n    """'


@pytest.fixture
def install(tmp_path, monkeypatch):
    """A function that installs a distribution with the given files and puts it on the path."""

    def _install(name, files):
        info = tmp_path / "site" / f"{name}-1.5.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.5\n")
        for path, source in files.items():
            file = tmp_path / "site" / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(source if isinstance(source, bytes) else dedent(source).encode())
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))
        if str(tmp_path / "site") not in sys.path:
            monkeypatch.syspath_prepend(str(tmp_path / "site"))

    return _install


def block(*packages, **options):
    return PythonDocs(source="python_docs", packages=list(packages), **{"parts": {"train": 1.0}, **options})


def found(collection):
    queries = dict(query for split in collection.splits.values() for query in split.queries)
    return {one: (queries[f"q:{one}"], title, text) for one, title, text in collection.passages}


def test_functions_classes_methods_and_conditional_definitions(install):
    source = f"""
    if True:
        def conditional(x):
            {docstring("Do it only if true holds", REST + " a")}
    try:
        import foo
    except ImportError:
        async def fallback():
            {docstring("Do it when foo is missing", REST + " b")}
    class Stack:
        {docstring("A pile of plates to wash", REST + " c")}
        def push(self):
            {docstring("Put one more plate on top", REST + " d")}
            def helper():
                {docstring("Nested functions do not count here", REST + " e")}
        class Inner:
            def pop(self):
                {docstring("Take the last plate away", REST + " f")}
    """
    source = dedent(source)
    install("plates", {"plates/__init__.py": "raise SystemExit('imported!')\n" + source, "plates/tests/test_x.py": source, "plates/conftest.py": source})
    collection = read_python_docs(block("plates"))
    assert list(found(collection)) == ["plates.Stack", "plates.Stack.Inner.pop", "plates.Stack.push", "plates.conditional", "plates.fallback"]
    assert found(collection)["plates.Stack.push"] == ("Put one more plate on top", "plates.Stack.push", REST + " d")
    assert collection.facts["packages"] == {"plates": "1.5"}


def test_lengths_copies_and_ambiguous_queries(install):
    other = REST.replace("word0", "zero")
    functions = {
        "fine": docstring("Return the sum of all values."),
        "too_short": docstring("Sum values."),
        "short_passage": docstring("Return the product of all values.", "too few words"),
        "inside": docstring("Return the mean of values.", f"{REST} return the MEAN of values"),
        "copy": docstring("Return the sum of all values."),
        "same_passage": docstring("Return the grand total of it all."),
        "first_of_two": docstring("Fit the model to data.", other + " alpha"),
        "second_of_two": docstring("fit the model to data", other + " beta"),
        "undocumented": "pass",
        "one_paragraph": '"""Return the variance of all values."""',
        "no_sentence": docstring("Parameters\n    ----------\n    a : array of many values"),
    }
    install(
        "maths",
        {
            "maths/core.py": "".join(f"def {name}():\n    {body}\n" for name, body in functions.items())
            + "def fine():\n    "
            + docstring("Return it once more, please.", other)
        },
    )
    collection = read_python_docs(block("maths"))
    assert list(found(collection)) == ["maths.core.fine"]
    assert collection.dropped() == {
        "ambiguous_query": 2,
        "defined_twice": 1,
        "passage_too_short": 1,
        "query_inside_passage": 1,
        "query_too_short_or_long": 1,
        "same_passage": 2,
    }


def test_titles_and_parts(install, tmp_path):
    install("many", {"many/sub/mod.py": "".join(f"def f{n}():\n    {docstring(f'Return the number {n} plus one.', REST + f' {n}')}\n" for n in range(200))})
    parts = {"train": 0.8, "test": 0.2}
    titles = {title: {row[1] for row in read_python_docs(block("many", title=title)).passages} for title in ("name", "module", "none")}
    assert (len(titles["name"]), titles["module"], titles["none"]) == (200, {"many.sub.mod"}, {""})
    manifests = [prepare_corpus(block("many", parts=parts), tmp_path / name) for name in ("one", "two")]
    assert manifests[0] == manifests[1]
    store = CorpusStore(tmp_path / "one")
    assert len(store.queries("train")) + len(store.queries("test")) == 200
    assert 20 <= len(store.queries("test")) <= 60
    assert all(len(rows) == 1 and f"q:{store.ids(rows)[0]}" == query for query, rows in store.positives("test").items())


def test_processes_do_not_change_the_result(install, monkeypatch):
    files = {f"wide/m{n:03}.py": f"def f():\n    {docstring(f'Return the number {n} plus one.', REST + f' {n}')}\n" for n in range(450)}
    install("wide", files)
    monkeypatch.setattr(python_docs, "available_cores", lambda: 1)
    alone = found(read_python_docs(block("wide")))
    monkeypatch.setattr(python_docs, "available_cores", lambda: 2)
    assert found(read_python_docs(block("wide"))) == alone
    assert len(alone) == 450


def test_files_that_do_not_parse_are_counted(install):
    good = f"def f():\n    {docstring('Return the number one plus one.')}\n"
    install(
        "odd",
        {
            "odd/a.py": good,
            "odd/template.py": "def {{ name }}():\n",
            "odd/null.py": b"a = '\0'\n",
            "odd/latin.py": b"# -*- coding: latin-1 -*-\nx = '\xe9'\n",
        },
    )
    collection = read_python_docs(block("odd"))
    assert collection.dropped() == {"ambiguous_query": 0, "unparsable_files": 2}


def test_notes_on_versions_and_underlines_are_left_out():
    text = dedent("""
        Turn the array
        around.

        .. deprecated:: 2.0
            Use `flip`.

            It is better.

        More words.

        Notes
        -----
        .. math:: x
    """)
    assert split_docstring(text) == ("Turn the array around.", "More words. Notes .. math:: x")
    assert split_docstring(".. versionadded:: 1.2\n\nAdd two things.\n\nAnd more.") == ("Add two things.", "And more.")
    assert split_docstring("One paragraph alone.") is None
    assert split_docstring("Args:\n  x: thing\n\nMore.") is None


def test_mistakes_are_sentences(install):
    install("plates", {"plates/__init__.py": "x = 1"})
    with pytest.raises(UserError, match=r"'platez' is not installed; did you mean 'plates'\?; run `pip install platez`"):
        read_python_docs(block("platez"))
    with pytest.raises(UserError, match="no docstring of plates has"):
        read_python_docs(block("plates"))
    install("empty", {"empty/data.json": "{}"})
    with pytest.raises(UserError, match=r"'empty' 1.5 lists no Python sources"):
        read_python_docs(block("empty"))
    with pytest.raises(ValidationError, match="add up to 1"):
        block("plates", parts={"train": 0.5})
