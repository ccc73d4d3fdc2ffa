"""Questions with their answers from a file: a line is a question, a tab, and a list of answers as Python writes it, as in DPR's ``nq-test.qa.csv``."""

from __future__ import annotations

import ast
import csv
from collections.abc import Iterator
from pathlib import Path

from simlm.corpus.records import Records
from simlm.errors import UserError
from simlm.lines import numbered_lines

FORM = "a question, a tab and a list of answers such as ['Paris', 'the city of Paris']"


def plain_question(text: str) -> str:
    """A question with the plain apostrophe, as DPR and all who compare with it read questions.

    >>> plain_question("who is macbeth’s wife")
    "who is macbeth's wife"
    """
    return text.replace("’", "'")


def read_questions(file: Path, name: str) -> tuple[Records, Records]:
    """(id, question) and (id, answers) of a file; the ids are the split's name and a running number from 0.

    Raises
    ------
    UserError
        While reading, with file and line, at the first line of another form.
    """

    def where(n: int) -> str:
        return f"{file}, question {n}"

    return Records(lambda: ((one, text) for one, text, _ in _rows(file, name)), where), Records(
        lambda: ((one, own) for one, _, own in _rows(file, name)), where
    )


def _rows(file: Path, name: str) -> Iterator[tuple[str, str, list[str]]]:
    try:
        # Quoted as a CSV file is: a list that holds quotation marks is written between such marks.
        rows = csv.reader((line + "\n" for _, line in numbered_lines(file)), delimiter="\t")
        for number, row in enumerate(rows):
            try:
                question, listed = row
                answers = ast.literal_eval(listed)
                if not isinstance(answers, list) or not all(isinstance(answer, str) for answer in answers):
                    raise ValueError
            except (ValueError, SyntaxError, RecursionError, MemoryError):
                raise UserError(f"{file}:{rows.line_num} is not a question with its answers ({FORM}); is it a file of question answering?") from None
            yield f"{name}-{number}", plain_question(question), answers
    except FileNotFoundError:
        raise UserError(f"{file} does not exist; give a file whose lines are {FORM}") from None
    except IsADirectoryError:
        raise UserError(f"{file} is a folder; give a file whose lines are {FORM}") from None
    except csv.Error as error:
        raise UserError(f"{file} cannot be read ({error}); its lines must be {FORM}") from None
