"""``encoding:`` and ``index:`` of one model, and the experiment's for all others."""

from __future__ import annotations

import pytest

from simlm.config import load_experiment, validate
from simlm.config.jobs import jobs
from simlm.config.stages import settings_of
from simlm.errors import UserError

OWN = {"index": {"factory": "HNSW8", "ef_search": 64}, "encoding": {"shards": 3, "dtype": "fp16"}}


def experiment(**own):
    values = load_experiment("config/smoke.yaml").model_dump(mode="json")
    values["encoding"] |= {"batch_size": 96, "shards": 1}
    values["index"] |= {"factory": "IVF4,Flat", "train_vectors": 500}
    values["models"]["distilled"] |= own
    return validate(values)


def test_what_a_model_does_not_say_the_experiment_says():
    made = experiment(**OWN)
    assert (made.index_of("distilled").factory, made.index_of("distilled").ef_search, made.index_of("distilled").train_vectors) == ("HNSW8", 64, 500)
    assert (made.encoding_of("distilled").dtype, made.encoding_of("distilled").batch_size) == ("fp16", 96)
    assert made.index_of("retriever1") == made.index
    assert made.encoding_of("retriever1") == made.encoding
    assert validate(made.model_dump(mode="json")) == made  # the resolved configuration says the same


def test_every_stage_of_that_model_alone_follows():
    plain, made = experiment(), experiment(**OWN)
    expected = {
        "encode": {"batch_size": 96, "dtype": "fp16", "precision": made.precision},
        "build_index": {"factory": "HNSW8", "train_vectors": 500, "seed": made.seed},
        "search_index": {**settings_of(plain, "search_index", "distilled"), "ef_search": 64},
    }
    for stage, settings in expected.items():
        assert settings_of(made, stage, "distilled") == settings != settings_of(plain, stage, "distilled")
        assert settings_of(made, stage, "retriever1") == settings_of(plain, stage, "retriever1")
    assert settings_of(made, "train", "distilled") == settings_of(plain, "train", "distilled")
    records = [job.label for job in jobs(made)]
    assert [name for name in records if name.startswith("encode.distilled.")] == [f"encode.distilled.{shard}-of-3" for shard in (1, 2, 3)]
    assert [name for name in records if name.startswith("encode.retriever1.")] == ["encode.retriever1.1-of-1"]


@pytest.mark.parametrize(("own", "said"), [({"index": {"factori": "Flat"}}, "factori"), ({"encoding": {"dtype": "fp8"}}, "dtype")])
def test_a_mistake_in_them_is_one_sentence(own, said):
    with pytest.raises(UserError, match=rf"models\.distilled\..*{said}"):
        experiment(**own)
