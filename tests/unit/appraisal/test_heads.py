"""Plain heads are the live loop's heads, without what changes no answer."""

from __future__ import annotations

import numpy as np
import pytest

from ml_backend.appraisal.heads import answers, plain_head, probs_out_of_fold
from ml_backend.learning.head import fit_head
from tests.unit.appraisal.projects import CLASSES, blobs


@pytest.mark.parametrize("n", [3, 6, 40, 300])
@pytest.mark.parametrize("classes_labeled", [1, 2, 3])
def test_a_plain_head_is_the_head_of_the_live_loop(n: int, classes_labeled: int) -> None:
    """Also with fewer labels than dimensions, with two classes and with one."""
    embeddings_MD, labels_M = blobs(n, seed=n)
    labels_M %= classes_labeled
    fresh_ND, _ = blobs(500, seed=1)
    live = fit_head(embeddings_MD, labels_M, 3, unseen_M=np.zeros(n, bool))
    assert live is not None
    plain = plain_head(embeddings_MD, labels_M, 3)
    assert np.allclose(plain.probs(fresh_ND), live.probs(fresh_ND), atol=2e-3)
    assert (answers(plain, fresh_ND) == answers(live, fresh_ND)).mean() > 0.99


def test_a_head_without_labels_is_refused() -> None:
    embeddings_MD, labels_M = blobs(0, seed=0)
    with pytest.raises(ValueError, match="labels_M is empty"):
        plain_head(embeddings_MD, labels_M, 3)


def test_out_of_fold_no_label_speaks_for_itself() -> None:
    """A lone wrong label among its neighbours is outvoted; a head that saw it would know it."""
    embeddings_MD, labels_M = blobs(90, seed=0, noise=0.2)
    wrong = (labels_M[0] + 1) % len(CLASSES)
    labels_M[0] = wrong
    probs_MC = probs_out_of_fold(embeddings_MD, labels_M, 3, temperature=1.0, seed=0)
    assert probs_MC[0].argmax() != wrong
    assert np.allclose(probs_MC.sum(axis=1), 1, atol=1e-5)
