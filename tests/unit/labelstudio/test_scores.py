"""The one function where direction flips."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml_backend.labelstudio.labeling_queue import prelabel, score_of
from ml_backend.records import ChoiceControl

CONTROL = ChoiceControl("kind", "image", "photo", ("cat", "dog"))


def test_wanted_first_has_the_lowest_score():
    assert [score_of(place, 4) for place in range(4)] == [0.0, 0.25, 0.5, 0.75]


@given(st.integers(2, 1_000_000).flatmap(lambda n: st.tuples(st.integers(0, n - 2), st.just(n))))
def test_neighbours_differ_in_any_pool(place_and_size):
    place, size = place_and_size

    assert 0.0 <= score_of(place, size) < score_of(place + 1, size) <= 1.0


@pytest.mark.parametrize(("place", "size"), [(-1, 3), (3, 3), (0, 0)])
def test_a_place_outside_the_pool_is_refused(place, size):
    with pytest.raises(ValueError, match="not in a pool"):
        score_of(place, size)


def test_a_prelabel_carries_its_confidence_at_the_region():
    assert prelabel(CONTROL, "cat", 0.75) == [
        {
            "from_name": "kind",
            "to_name": "image",
            "type": "choices",
            "value": {"choices": ["cat"]},
            "score": 0.75,
        }
    ]


def test_no_choice_is_no_prelabel():
    assert prelabel(CONTROL, None, None) == []
