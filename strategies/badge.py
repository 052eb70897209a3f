"""BADGE: diverse and large gradients of the head's last layer, by k-means++.

Ash, Zhang, Krishnamurthy, Langford, Agarwal, ICLR 2020. The gradient at the label that the model
would guess is g = q (x) z, with q = p - onehot(guess) and z the head's input. It is never made:

    |g - g'|^2 = |q|^2 |z|^2 + |q'|^2 |z'|^2 - 2 <q, q'> <z, z'>

The first pick has the largest gradient; each further one is drawn with probability in proportion
to the squared distance to the nearest pick (`seeding`). z is the unit direction, which is what the
head of the live loop sees.
"""

from __future__ import annotations

import numpy as np

from strategies.arrays import FloatArray
from strategies.positions import directions
from strategies.query import Picks, Query
from strategies.seeding import OuterProducts, plus_plus


def badge(query: Query) -> Picks:
    """Draw tasks whose gradients are large and unlike those before."""
    probs_NC = query.candidates.probs_NC
    assert probs_NC is not None  # the table answers with the cold start where there is no model
    pool_ND, _ = directions(query)
    gradients = OuterProducts.of(guess_errors(probs_NC, query.candidates.multi_label), pool_ND)
    picks = plus_plus(gradients, query.head, query.rng, query.weights_N)
    return Picks(picks, query.uncertainty("margin"))


def guess_errors(probs_NC: FloatArray, multi_label: bool) -> FloatArray:
    """Return p minus the model's own guess: of the one class, or of each label by itself."""
    if multi_label:
        return np.asarray(probs_NC - (probs_NC >= 0.5))
    errors_NC = probs_NC.copy()
    errors_NC[np.arange(len(probs_NC)), probs_NC.argmax(axis=1)] -= 1.0
    return errors_NC
