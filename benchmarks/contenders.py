"""Who is compared in `learning_curves`: a row of its table each."""

from __future__ import annotations

from benchmarks.learning_curve_report import REFERENCE
from ml_backend.simulation.replay import Contender
from strategies import STRATEGIES

SEED_S = ("top_n", "iterative_proximity", "clustering")
CONTENDERS = (
    Contender("uherding (default)", "uherding"),
    Contender("uherding, not centred", "uherding", (("centred", False),)),
    Contender("maxherding, not centred", "maxherding", (("centred", False),)),
    Contender("bald, feature dropout", "bald", (("posterior", "dropout"), ("samples", 10))),
    # similar finds what looks like given examples: it is for searching, not for learning
    *(
        Contender(name, name)
        for name in STRATEGIES
        if name not in {"uherding", "similar", "least_confidence", "entropy", *SEED_S}
    ),
    Contender("maxherding, then margin", "margin", cold="maxherding"),
    Contender("maxherding, then random", "random", cold="maxherding"),
    Contender("seed: least confidence, top n", "top_n", (("uncertainty", "least_confidence"),)),
    Contender("seed: margin, top n", "top_n", (("uncertainty", "margin"),)),
    Contender("seed: entropy, top n", "top_n", (("uncertainty", "entropy"),)),
    *(
        Contender(f"seed: {said}, {name}", strategy, (("uncertainty", uncertainty),))
        for strategy, name in (
            ("iterative_proximity", "iterative proximity"),
            ("clustering", "clustering"),
        )
        for uncertainty, said in (
            ("least_confidence", "least confidence"),
            ("margin", "margin"),
            ("entropy", "entropy"),
        )
    ),
)

HEADLINE = ("uherding (default)", "uherding, not centred", "maxherding", "random")


def chosen(only: str) -> list[Contender]:
    """Return those of some strategies, and what they are compared with."""
    return [
        contender
        for contender in CONTENDERS
        if not only or contender.strategy in only.split(",") or contender.label == REFERENCE
    ]
