"""Reasons: true sentences for the people who label."""

from __future__ import annotations

import numpy as np
import pytest

from strategies import Candidates, Labeled, Reason, rank


@pytest.mark.parametrize(
    ("reason", "sentence"),
    [
        (Reason("random"), "Drawn at random."),
        (Reason("random", cold_start=True), "No model yet: drawn at random."),
        (
            Reason("uncertain", 0.9, (1, 0), (0.52, 0.48)),
            "The model hesitates between dog (52 %) and cat (48 %).",
        ),
        (
            Reason("covers", 0.9, (1, 0), (0.52, 0.48), coverage=0.125),
            "Stands for 12 % of what is still open; "
            "the model hesitates between dog (52 %) and cat (48 %).",
        ),
        (
            Reason("covers", coverage=0.004, cold_start=True),
            "No model yet: stands for less than 1 % of what is still open.",
        ),
        (Reason("fills"), "Much like tasks that are labeled or come earlier."),
        (Reason("uncertain", 0.0, (0,), (1.0,)), "The model knows one class only."),
    ],
)
def test_sentence(reason: Reason, sentence: str) -> None:
    assert reason.text(["cat", "dog"]) == sentence


def test_classes_go_by_number_where_no_names_are_given() -> None:
    reason = Reason("uncertain", 0.9, (1, 0), (0.52, 0.48))
    assert reason.text() == "The model hesitates between class 1 (52 %) and class 0 (48 %)."


def test_sure_model_is_not_said_to_hesitate() -> None:
    reason = Reason("covers", 0.02, (1, 0), (0.99, 0.01), coverage=0.5)
    assert reason.text(["cat", "dog"]) == (
        "Stands for 50 % of what is still open; the model says dog (99 %)."
    )


def test_shares_of_all_picks_do_not_exceed_the_whole() -> None:
    embeddings_ND = np.random.default_rng(0).normal(size=(30, 4))
    pool = Candidates(np.arange(30), None, embeddings_ND)
    ranking = rank("uherding", pool, Labeled.none(4), head=30, rng=np.random.default_rng(0))
    shares = [reason.coverage or 0.0 for reason in ranking.reasons]
    assert sum(shares) == pytest.approx(1.0, abs=1e-4)  # all picked: all is covered
    assert shares == sorted(shares, reverse=True)


def test_copies_of_what_is_picked_say_so() -> None:
    pool = Candidates(np.arange(4), None, np.ones((4, 3)))
    ranking = rank("maxherding", pool, Labeled.none(3), head=4, rng=np.random.default_rng(0))
    assert [reason.kind for reason in ranking.reasons] == ["covers", "fills", "fills", "fills"]
