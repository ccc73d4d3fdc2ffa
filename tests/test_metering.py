"""How busy a device is, against cases computed by hand: a clock and GPU events that are made up, batches with known padding."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from simlm import metering
from simlm.metering import Known, binds, metered
from simlm.models.batches import in_pieces
from simlm.models.packing import use_packing
from simlm.planning.counts import Counts
from simlm.planning.utilisation import operations, peak_of
from simlm.planning.work import Workload


class Clock:
    """Seconds that pass when told so."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now


class Gpu:
    """Does what it is told one after the other; an event is over when what was told before it is done."""

    def __init__(self, clock: Clock) -> None:
        self.clock, self.free = clock, 0.0

    def compute(self, seconds: float) -> None:
        """It began when the first of it was told, and ends no sooner than the last is."""
        self.free = max(self.free + seconds, self.clock.now)

    def event(self) -> SimpleNamespace:
        self.free = moment = max(self.free, self.clock.now)
        return SimpleNamespace(moment=moment, query=lambda: self.clock.now >= moment, elapsed_time=lambda other: 1000 * (other.moment - moment))


@pytest.fixture
def clock(monkeypatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(metering, "time", made)
    return made


def test_a_processor_waits_for_what_is_not_a_step(clock):
    with metered() as meter:
        for _ in range(4):
            clock.now += 0.5  # the collator
            piece = meter.begin()
            clock.now += 1.5
            meter.end(piece)
            metering.read(30, 40)
        figures = meter.take(clock.now, 4)
    assert (figures.tokens, figures.positions, figures.padding, figures.waited) == (120, 160, 0.25, 0.25)
    assert (figures.late, figures.peak_share) == (None, None), "neither is known of a processor"
    assert figures.metrics == {"tokens_per_second": 15.0, "padded_tokens_per_second": 20.0, "padding": 0.25, "waited": 0.25}
    assert meter.take(1.0, 0).tokens == 0, "what was taken is gone"


@pytest.mark.parametrize(
    ("collating", "telling", "computing", "operations_of_piece", "whole", "waited", "late", "word"),
    [
        (0.1, 0.2, 1.0, 80.0, 6.1, 0.1 / 6.1, 0.0, "arithmetic"),  # the host is ahead: the device waits for the first piece alone
        (0.1, 0.2, 1.0, 20.0, 6.1, 0.1 / 6.1, 0.0, "memory"),
        (0.5, 0.5, 0.3, 20.0, 6.0, 0.5, 5 / 6, "host"),  # it waits for every piece
        (0.02, 0.5, 0.3, 20.0, 6 * 0.52, 0.02 / 0.52, 5 / 6, "host"),  # it is told too slowly, within the pieces
    ],
)
def test_a_gpu_by_its_events(clock, monkeypatch, collating, telling, computing, operations_of_piece, whole, waited, late, word):
    gpu, pieces = Gpu(clock), 6
    monkeypatch.setattr(metering, "_event", gpu.event)
    with metered(Known(operations_of_piece, peak=100.0)) as meter:
        for _ in range(pieces):
            clock.now += collating
            piece = meter.begin()
            clock.now += telling
            gpu.compute(computing)
            meter.end(piece)
        clock.now = gpu.free
        figures = meter.take(clock.now, pieces)
    assert (clock.now, figures.waited, figures.late) == pytest.approx((whole, waited, late))
    assert figures.peak_share == pytest.approx(operations_of_piece * pieces / whole / 100)
    assert binds(figures.waited, figures.late, figures.peak_share) == word


def test_a_gpu_whose_results_are_fetched(clock, monkeypatch):
    """It runs dry behind every piece; late are those that it did as fast as it was told to."""
    gpu = Gpu(clock)
    monkeypatch.setattr(metering, "_event", gpu.event)
    with metered() as meter, meter.working():
        for telling in (0.1, 0.1, 1.0):
            clock.now += 0.25
            with metering.computing(1, 1) as piece:
                clock.now += telling
                gpu.compute(0.75)
                piece.all_told()
                clock.now = max(clock.now, gpu.free)  # the result is fetched
    assert meter.metrics == {"tokens_per_second": 0.9, "padded_tokens_per_second": 0.9, "padding": 0.0, "waited": round(0.75 / 3.25, 3), "late": 0.333}


def test_looks_at_held_out_texts_do_not_count(clock):
    with metered() as meter:
        with metering.paused(), metering.computing(100, 100):
            metering.read(100, 100)
            clock.now += 1
        with metering.computing(7, 8):
            metering.read(torch.tensor(3), 4)  # what computes knows better
            clock.now += 1
        figures = meter.take(1.0, 0)
    assert (figures.tokens, figures.positions, figures.waited) == (3, 4, 0)
    metering.read(5, 5)
    assert not metering.meter().positions, "outside of a stage nothing is counted"


def test_pieces_of_a_batch_are_counted_as_they_are_forwarded():
    """Sixteen texts of 5 tokens in a piece of width 8, sixteen of 40 in one of width 40."""
    lengths = np.array([5, 40] * 16)
    mask = torch.from_numpy((np.arange(40) < lengths[:, None]).astype(np.int64))
    with metered() as meter:
        in_pieces({"input_ids": mask, "attention_mask": mask})
    assert (meter.tokens, meter.positions) == (16 * 5 + 16 * 40, 16 * 8 + 16 * 40)


def test_a_row_of_packed_tokens_has_no_padding_but_what_fills_it_up(tiny_encoder):
    """70 tokens in a row of 128, where the padded batch has 2 × 40 places; on a processor rows are multiples of 64."""
    assert use_packing(tiny_encoder) is None
    mask = (torch.arange(40) < torch.tensor([[30], [40]])).long()
    with metered() as meter, torch.no_grad():
        tiny_encoder(input_ids=mask, attention_mask=mask)
    assert (meter.tokens, meter.positions) == (70, 128)


def test_operations_of_a_unit_are_those_of_the_plan(made):
    """A step of the retriever reads its queries and their passages three times (forward and backward), plus its looks."""
    experiment = made.context.experiment
    name = next(name for name, block in experiment.models.items() if block.kind == "biencoder")
    work, block = Workload(experiment, Counts(2000, 60.0, {"train": 500, "dev": 50, "test": 50}, "made up")), experiment.models[name]
    texts = work.asking(name) + (1 + block.hard_negatives) * work.encoding(name)
    looks = work.looks(name, block) * work.held_out(name) * (work.asking(name) + (1 + block.pooled(block.hard_negatives)) * work.encoding(name))
    assert operations(work, name, "training") == pytest.approx(3 * block.batch_size * texts + looks / work.steps(name))
    assert operations(work, name, "encoding") == work.encoding(name)


def test_the_peak_goes_by_the_word_of_the_driver():
    assert peak_of("NVIDIA A100-SXM4-80GB") == 312e12
    assert peak_of("NVIDIA GH200 480GB") is None, "the name of a known card within a word is another card"
