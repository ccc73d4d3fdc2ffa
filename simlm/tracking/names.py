"""From ir-measures' names of metrics to MLflow's, which refuses ``@``, ``(`` and ``)``, and from settings to its parameters."""

from __future__ import annotations

import re
from typing import Any

_TO_MLFLOW = {"RR": "mrr", "R": "recall", "nDCG": "ndcg", "AP": "map", "P": "precision", "Success": "success"}


def mlflow_name(name: str) -> str:
    """Key under which MLflow accepts a metric; a path before the last ``/`` is kept.

    >>> mlflow_name("RR@10"), mlflow_name("nDCG@10"), mlflow_name("AP"), mlflow_name("R@1000")
    ('mrr_10', 'ndcg_10', 'map', 'recall_1000')
    >>> mlflow_name("probe/RR@10"), mlflow_name("loss"), mlflow_name("P(rel=2)@5")
    ('probe/mrr_10', 'loss', 'precision_rel_2_5')
    """
    folder, slash, last = name.rpartition("/")
    measure = re.fullmatch(r"([A-Za-z]+)(\(.*\))?(@\d+)?", last)
    if measure and measure[1] in _TO_MLFLOW:
        last = _TO_MLFLOW[measure[1]] + last[len(measure[1]) :]
    return f"{folder}{slash}{re.sub(r'[^A-Za-z0-9.-]+', '_', last).strip('_')}"


def flatten(values: Any, prefix: str = "") -> dict[str, str]:
    """Nested settings as dotted keys and strings, the form of MLflow's parameters.

    >>> flatten({"a": {"b": 1, "c": None}, "l": [1, 2], "empty": {}})
    {'a.b': '1', 'a.c': 'null', 'l': '[1, 2]', 'empty': '{}'}
    """
    import json

    if isinstance(values, dict) and (values or not prefix):
        flat: dict[str, str] = {}
        for key, value in values.items():
            flat |= flatten(value, f"{prefix}.{key}" if prefix else str(key))
        return flat
    text = values if isinstance(values, str) else json.dumps(values, ensure_ascii=False, default=str)
    return {prefix: text if len(text) <= 500 else text[:499] + "…"}


def safe_key(name: str) -> str:
    """A parameter's or tag's key with only the characters MLflow allows.

    >>> safe_key("models.a b(c)")
    'models.a b_c_'
    """
    return re.sub(r"[^\w./ -]", "_", name)[:250]
