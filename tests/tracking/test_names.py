import re

from simlm.tracking.names import flatten, mlflow_name, safe_key


def test_measures_keep_names_of_their_own():
    names = ["RR@10", "R@50", "R@1000", "nDCG@10", "AP", "P@5", "Success@10", "dev/RR@10", "probe/nDCG@10"]
    keys = [mlflow_name(name) for name in names]
    assert len(set(keys)) == len(names)
    assert all(re.fullmatch(r"[\w./-]+", key) for key in keys)


def test_names_that_mlflow_refuses_become_valid():
    assert mlflow_name("RR(rel=2)@10") == "mrr_rel_2_10"
    assert re.fullmatch(r"[\w./-]+", mlflow_name("eval/loss (held-out)"))


def test_long_values_are_cut_not_refused():
    assert len(flatten({"a": "x" * 10_000})["a"]) == 500


def test_keys_are_made_safe():
    assert safe_key("models.a@b:c") == "models.a_b_c"
