"""Names of metrics: every usual one is understood, and one canonical form, that of ir-measures, is used from then on."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator

from simlm.errors import nearest

ALIASES = {
    "RR": ("rr", "mrr", "reciprank"),
    "AP": ("ap", "map"),
    "nDCG": ("ndcg",),
    "R": ("r", "recall"),
    "P": ("p", "prec", "precision"),
    "Success": ("success", "hit", "hits", "hitrate", "hr"),
    "Judged": ("judged",),
    "IPrec": ("iprec", "iprecatrecall"),
    "Rprec": ("rprec", "rprecision"),
    "Bpref": ("bpref",),
    "infAP": ("infap",),
    "Compat": ("compat",),
    "SetP": ("setp",),
    "SetR": ("setr", "setrecall"),
    "SetF": ("setf",),
    "SetAP": ("setap", "setmap"),
    "NumRet": ("numret",),
    "Answer": ("answer", "answers", "answermatch"),
}
"""ir-measures' name (of :data:`ANSWER`, ours) → names that trec_eval, BEIR, MTEB and papers use, in lower case and without separators."""

ANSWER = "Answer"
"""Share of questions with an answer in one of the first passages (:mod:`simlm.evaluation.answers`); judged by answers instead of judgements."""

NEEDS_DEPTH = ("R", "P", "Success", "Judged", "IPrec", ANSWER)
TAKES_DEPTH = (*NEEDS_DEPTH, "RR", "AP", "nDCG")

_ELSEWHERE = {
    "accuracy": "ir-measures counts pairs of passages under this name; the share of queries with a relevant passage is Success@10, "
    "that of questions with an answer in a passage Answer@10",
    "err": "ir-measures leaves it to a Perl script that takes whole numbers as ids alone; nDCG@20 reads the grades too",
}
"""Names that ir-measures knows, but that cannot be computed here for all ids."""

_BY_ALIAS = {alias: name for name, aliases in ALIASES.items() for alias in aliases}
_FORM = re.compile(r"([A-Za-z][A-Za-z_\- ]*?)(\([^()]*\))?(?:(?:@|_at_|_cut_|_cut\.|_|\.)?(\d+(?:\.\d+)?k?))?", re.IGNORECASE)


def canonical_metric(name: str) -> str:
    """The ir-measures name of a metric.

    Raises
    ------
    ValueError
        If no metric is called so, with the nearest name.

    >>> [canonical_metric(name) for name in ("MRR@10", "map", "ndcg_cut_10", "R@1k", "recall_at_100", "P_5", "nDCG(dcg='log2')@10")]
    ['RR@10', 'AP', 'nDCG@10', 'R@1000', 'R@100', 'P@5', "nDCG(dcg='log2')@10"]
    """
    match = _FORM.fullmatch(name.strip())
    word = re.sub(r"[_\- ]", "", match[1]).lower() if match else ""
    known = _BY_ALIAS.get(word)
    if known is None:
        if word in _ELSEWHERE:
            raise ValueError(f"'{name}' is not computed here: {_ELSEWHERE[word]}")
        shown = [
            f"{one}@{match[3]}" if match and match[3] else one
            for one in (*(TAKES_DEPTH if match and match[3] else ALIASES), "MRR", "MAP", "Recall", "Precision", "Hit")
        ]
        raise ValueError(f"no metric is called '{name}'{nearest(name, shown)} (for example RR@10, R@1000, nDCG@10, AP, P@10, Success@10)")
    parameters, cutoff = match[2] or "", match[3]
    if "exp-log2" in parameters:
        raise ValueError(f"'{name}' is not computed here: {_ELSEWHERE['err']}")
    if cutoff is None:
        if known in NEEDS_DEPTH:
            raise ValueError(f"'{name}' lacks its depth; write {known}@10")
        return known + parameters
    if known not in TAKES_DEPTH:
        raise ValueError(f"'{name}' has a depth, which {known} does not take; write {known}")
    number = float(cutoff.lower().removesuffix("k")) * (1000 if cutoff.lower().endswith("k") else 1)
    if known == "IPrec":
        return f"{known}{parameters}@{number:g}"
    if number < 1 or not number.is_integer():
        raise ValueError(f"'{name}': the depth must be a whole number above 0")
    return f"{known}{parameters}@{int(number)}"


def spoken_metric(name: str) -> str:
    """What papers call a metric of canonical name: that of ir-measures except for MRR and MAP.

    >>> [spoken_metric(name) for name in ("RR@10", "AP", "AP@100", "RR(rel=2)@10", "nDCG@10", "Rprec")]
    ['MRR@10', 'MAP', 'MAP@100', 'MRR(rel=2)@10', 'nDCG@10', 'Rprec']
    """
    known = re.match(r"(RR|AP)(?![A-Za-z])", name)
    return {"RR": "MRR", "AP": "MAP"}[known[1]] + name[2:] if known else name


def by_answers(name: str) -> bool:
    """Whether a metric of canonical name is judged by answers.

    >>> by_answers("Answer@20"), by_answers("R@20")
    (True, False)
    """
    return name.partition("@")[0] == ANSWER


Metric = Annotated[str, AfterValidator(canonical_metric)]


def depth_of(name: str) -> int | None:
    """How many passages a metric of canonical name looks at; None: all that there are.

    >>> depth_of("R@1000"), depth_of("AP"), depth_of("IPrec@0.1")
    (1000, None, None)
    """
    _, _, cutoff = name.partition("@")
    return int(cutoff) if cutoff.isdecimal() and not name.startswith("IPrec") else None


def beyond(names: list[str], depth: int) -> list[str]:
    """A sentence for each metric of canonical name that looks at more passages than runs of that depth hold.

    >>> beyond(["RR@10", "R@1000"], 50)
    ['R@1000 looks at more passages than the runs hold (evaluate.depth 50), so that its figures are those of R@50']
    """
    return [
        f"{name} looks at more passages than the runs hold (evaluate.depth {depth:,}), so that its figures are those of {name.partition('@')[0]}@{depth}"
        for name in names
        if (depth_of(name) or 0) > depth
    ]
