"""The story of an appraisal: every finding, in the order in which a page tells them.

Knows the findings' modules; no store, no Label Studio, no web.
"""

from __future__ import annotations

from typing import Any

from ml_backend.appraisal.evidence import Evidence


def appraise(evidence: Evidence) -> dict[str, Any]:
    """Return what JSON can hold under these keys.

    accuracy, curve, labels_saved, calibration, confusion, per_class, suspects, disagreements,
    second_opinions, advice, map. Every key is always there; None where nothing can be told.
    """
    raise NotImplementedError
