"""Queries to read: chosen by the rank of the relevant passage, spread over the groups of the corpus."""

from __future__ import annotations

from collections import Counter

from simlm.report.examples import _choose, examples


def test_ties_are_spread_over_the_groups_and_not_alphabetical():
    ids = [f"{group}.{number:02}" for group, count in (("numpy", 30), ("scipy", 40), ("torch", 14), ("transformers", 12)) for number in range(count)]
    groups = {name: name.partition(".")[0] for name in ids}
    distances = dict.fromkeys(ids, 1.0) | {"numpy.29": 0.2, "torch.00": -1.0}
    chosen = _choose(distances, groups, 42, 8)
    assert Counter(groups[name] for name in chosen) == {"numpy": 2, "scipy": 2, "torch": 2, "transformers": 2}
    assert chosen == _choose(dict(reversed(distances.items())), groups, 42, 8), "the order of the queries does not matter"
    assert chosen != _choose(distances, groups, 43, 8)
    assert not {"numpy.29", "torch.00"} & {*chosen}


def test_larger_distances_come_before_other_groups():
    assert _choose({"a1": 0.9, "a2": 0.8, "b1": 0.1}, {"a1": "a", "a2": "a", "b1": "b"}, 1, 2) == ["a1", "a2"]


def test_every_systems_rank_is_that_of_the_relevant_passage_in_its_run(made):
    queries = made.queries["test"]
    for system, rank in (("bm25", 9), ("distilled", 2), ("fusion", 21)):
        made._run(system, "test", dict.fromkeys(queries, rank))
    moved = list(queries)[3]
    made._run("distilled", "test", {query: 14 if query == moved else 2 for query in queries})
    lines = made.paths.run("fusion", "test").read_text().splitlines(keepends=True)
    made.paths.run("fusion", "test").write_text("".join(line for line in lines if not (line.startswith(f"{moved} ") and line.split()[3] == "21")))
    found = examples(made.context, "distilled", each=3)
    assert [example.query_id for example in found.losses] == [moved], "14 is worse than 9; all others gain"
    assert found.losses[0].ranks == {"bm25": 9, "distilled": 14, "fusion": None} | {
        name: 3 % (9 - made.experiment.evaluate.systems.index(name)) + 1 for name in ("control", "retriever1", "retriever2", "reranker")
    }
    assert len(found.gains) == 3
    assert all(example.ranks["distilled"] == 2 for example in found.gains)
