"""Keys against an order by two criteria (numpy's lexsort), for every kind of fp32 number."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from simlm.indexes.keys import NOTHING, keys_of, keys_of_tensors, results_of, same_score

SCORES = st.floats(width=32, allow_nan=False)
RESULTS = st.lists(st.tuples(SCORES, st.integers(0, 2**31 - 1)), min_size=1, max_size=40)


@given(RESULTS)
def test_sorted_keys_are_results_by_score_and_row(results):
    scores, rows = np.array([score for score, _ in results], np.float32), np.array([row for _, row in results], np.int64)
    order = np.lexsort((rows, -scores))
    found_rows, found_scores = results_of(np.sort(keys_of(scores, rows)))
    np.testing.assert_array_equal(found_rows, rows[order])
    np.testing.assert_array_equal(found_scores, scores[order])
    tensors = keys_of_tensors(torch.from_numpy(scores), torch.from_numpy(rows))
    np.testing.assert_array_equal(tensors.numpy(), keys_of(scores, rows))


@given(SCORES, SCORES)
def test_same_score_says_what_the_numbers_say(one, other):
    keys = [keys_of(np.array([score], np.float32), np.array([row])) for row, score in enumerate((one, other))]
    assert same_score(*keys)[0] == (np.float32(one) == np.float32(other))


def test_places_without_a_result_come_last():
    keys = keys_of(np.array([-np.inf, 3.0, -np.inf], np.float32), np.array([5, -1, 2**31 - 1]))
    assert keys[1] == NOTHING
    rows, scores = results_of(np.sort(keys))
    np.testing.assert_array_equal(rows, [5, 2**31 - 1, -1])
    np.testing.assert_array_equal(scores, [-np.inf] * 3)
