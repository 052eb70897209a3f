"""The query strategies that exist, as a table: what each needs, and where it comes from."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ml_backend.errors import UnknownStrategy, UnrankableInput
from strategies import (
    badge,
    bait,
    cluster_margin,
    clustering,
    coreset,
    dropquery,
    facility_location,
    herding,
    kmeans,
    mmr,
    proximity,
    similar,
    simple,
    typiclust,
)
from strategies.arrays import Candidates, Labeled
from strategies.parameters import check_parameter
from strategies.query import Picks
from strategies.uncertainty import RANDOM


@dataclass(frozen=True, slots=True)
class Strategy:
    """One row of the table.

    needs: of {"probs", "embeddings", "predict", "mc_probs", "examples"}; mc_probs can be had from
    predict and embeddings too, examples are those given or what is labeled. cold_start: the
    strategy that answers while there is no model, or no example; "" where none is needed. kind: of
    the reasons it gives. diverse: its head does not repeat images.
    """

    name: str
    pick: Callable[..., Picks]
    needs: frozenset[str]
    description: str
    source: str
    cold_start: str = ""
    kind: str = "uncertain"
    diverse: bool = False

    @property
    def parameters(self) -> Mapping[str, Any]:
        """Return the names of the parameters that it takes, with their defaults."""
        taken = inspect.signature(self.pick).parameters.values()
        return {p.name: p.default for p in taken if p.kind is p.KEYWORD_ONLY}

    def check(self, parameters: Mapping[str, Any]) -> None:
        """Raise UnknownStrategy for a foreign parameter, ConfigurationError for a bad value."""
        known = self.parameters
        for name, value in parameters.items():
            if name not in known:
                there_is = ", ".join(known) or "none"
                raise UnknownStrategy(
                    f"strategy {self.name!r} has no parameter {name!r}; there is: {there_is}"
                )
            check_parameter(self.name, name, value)

    def must_wait(
        self, candidates: Candidates, labeled: Labeled, parameters: Mapping[str, Any]
    ) -> bool:
        """Return whether its cold start answers: it needs a model, or examples, and has none."""
        if parameters.get("uncertainty", self.parameters.get("uncertainty")) == RANDOM:
            return False
        if "examples" in self.needs:
            return parameters.get("examples_KD") is None and not len(labeled)
        if "mc_probs" in self.needs and candidates.mc_probs_TNC is not None:
            return False
        return bool({"probs", "mc_probs"} & self.needs) and candidates.probs_NC is None

    def require_needs(self, candidates: Candidates) -> None:
        """Raise UnrankableInput where the caller has to give something more."""
        if "embeddings" in self.needs and candidates.embeddings_ND is None:
            raise UnrankableInput(f"strategy {self.name!r} needs embeddings_ND, which is None")
        if "predict" in self.needs and candidates.predict is None:
            raise UnrankableInput(
                f"strategy {self.name!r} needs Candidates(predict=...), embeddings to probabilities"
            )


_PROBS, _EMBEDDINGS = "probs", "embeddings"
_PREDICT, _MC_PROBS, _EXAMPLES = "predict", "mc_probs", "examples"
_ROWS = (
    Strategy(
        "uherding",
        herding.uherding,
        frozenset({_PROBS, _EMBEDDINGS}),
        "Cover the pool where the model is unsure. The default.",
        "Bae, Oliveira, Sutherland, ICLR 2025, arXiv:2412.20644",
        cold_start="maxherding",
        kind="covers",
        diverse=True,
    ),
    Strategy(
        "maxherding",
        herding.maxherding,
        frozenset({_EMBEDDINGS}),
        "Cover the pool. What uherding is before the first label.",
        "Bae, Noh, Sutherland, ECCV 2024, arXiv:2407.12212",
        kind="covers",
        diverse=True,
    ),
    Strategy(
        "margin",
        simple.margin,
        frozenset({_PROBS}),
        "The two likeliest classes are close.",
        "Scheffer, Decomain, Wrobel, IDA 2001",
        cold_start="random",
    ),
    Strategy(
        "entropy",
        simple.entropy,
        frozenset({_PROBS}),
        "The class distribution is flat. Worse than random with few labels.",
        "Settles, Active Learning Literature Survey, 2009",
        cold_start="random",
    ),
    Strategy(
        "least_confidence",
        simple.least_confidence,
        frozenset({_PROBS}),
        "The likeliest class is not likely. Worse than random with few labels.",
        "Lewis, Gale, SIGIR 1994",
        cold_start="random",
    ),
    Strategy(
        "bald",
        simple.bald,
        frozenset({_MC_PROBS}),
        "Samples of the model disagree, each sure of its own answer.",
        "Houlsby et al., arXiv:1112.5745; Daxberger et al., NeurIPS 2021, arXiv:2106.14806",
        cold_start="random",
    ),
    Strategy(
        "power",
        simple.power,
        frozenset({_PROBS}),
        "At random, in proportion to a power of the uncertainty.",
        "Kirsch et al., TMLR 2023, arXiv:2106.12059",
        cold_start="random",
    ),
    Strategy(
        "coreset",
        coreset.coreset,
        frozenset({_EMBEDDINGS}),
        "The farthest from everything labeled or picked. Goes to outliers first.",
        "Sener, Savarese, ICLR 2018, arXiv:1708.00489",
        kind="far",
        diverse=True,
    ),
    Strategy(
        "mmr",
        mmr.mmr,
        frozenset({_PROBS, _EMBEDDINGS}),
        "Unsure, and unlike what is labeled or picked.",
        "Carbonell, Goldstein, SIGIR 1998",
        cold_start="maxherding",
    ),
    Strategy(
        "facility_location",
        facility_location.facility_location,
        frozenset({_EMBEDDINGS}),
        "Every task should be like something labeled or picked: k-medoids, one by one.",
        "Minoux 1978; Wei, Iyer, Bilmes, ICML 2015",
        kind="covers",
        diverse=True,
    ),
    Strategy(
        "typiclust",
        typiclust.typiclust,
        frozenset({_EMBEDDINGS}),
        "The most typical of each cluster without labels. For a small budget that is known.",
        "Hacohen, Dekel, Weinshall, ICML 2022, arXiv:2202.02794",
        kind="typical",
    ),
    Strategy(
        "kmeans",
        kmeans.kmeans,
        frozenset({_EMBEDDINGS}),
        "The nearest to each of as many centres as there is budget.",
        "Pourahmadi, Nooralinejad, Pirsiavash, 2021, arXiv:2110.12033",
        kind="typical",
        diverse=True,
    ),
    Strategy(
        "weighted_kmeans",
        kmeans.weighted_kmeans,
        frozenset({_PROBS, _EMBEDDINGS}),
        "The most unsure, clustered with their uncertainty as weight.",
        "Zhdanov, 2019, arXiv:1901.05954",
        cold_start="kmeans",
        kind="typical",
        diverse=True,
    ),
    Strategy(
        "dropquery",
        dropquery.dropquery,
        frozenset({_PROBS, _EMBEDDINGS, _PREDICT}),
        "What changes its class when features are left out, one from each cluster.",
        "Gupte et al., TMLR 2024, arXiv:2401.14555",
        cold_start="kmeans",
        kind="typical",
        diverse=True,
    ),
    Strategy(
        "cluster_margin",
        cluster_margin.cluster_margin,
        frozenset({_PROBS, _EMBEDDINGS}),
        "The smallest margins, clusters in turn. For batches of ten thousand.",
        "Citovsky et al., NeurIPS 2021, arXiv:2107.14263",
        cold_start="random",
    ),
    Strategy(
        "badge",
        badge.badge,
        frozenset({_PROBS, _EMBEDDINGS}),
        "Large gradients of the head, each unlike those before.",
        "Ash et al., ICLR 2020, arXiv:1906.03671",
        cold_start="maxherding",
        kind="informative",
        diverse=True,
    ),
    Strategy(
        "bait",
        bait.bait,
        frozenset({_PROBS, _EMBEDDINGS, _PREDICT}),
        "Leave the least expected error in the head's weights. For many labels.",
        "Ash et al., NeurIPS 2021; Huseljic et al., ECML 2024, arXiv:2404.08981",
        cold_start="maxherding",
        kind="informative",
    ),
    Strategy(
        "similar",
        similar.similar,
        frozenset({_EMBEDDINGS, _EXAMPLES}),
        "What looks like the examples, or like what is labeled: to find a rare class.",
        "SpaceML Active Labeler: preindex",
        cold_start="maxherding",
        kind="similar",
    ),
    Strategy(
        "random",
        simple.random,
        frozenset(),
        "Any task next: what everything else has to beat.",
        "-",
        kind="random",
    ),
    Strategy(
        "top_n",
        simple.top_n,
        frozenset({_PROBS}),
        "The most unsure, by any uncertainty.",
        "SpaceML Active Labeler: pick top n",
        cold_start="random",
    ),
    Strategy(
        "iterative_proximity",
        proximity.iterative_proximity,
        frozenset({_PROBS, _EMBEDDINGS}),
        "The most unsure, pushed away from the centroid of the picks. For comparison.",
        "SpaceML Active Labeler: iterative proximity",
        cold_start="random",
    ),
    Strategy(
        "clustering",
        clustering.clustering,
        frozenset({_PROBS, _EMBEDDINGS}),
        "The most unsure of each of a few clusters. For comparison.",
        "SpaceML Active Labeler: clustering",
        cold_start="random",
    ),
)
STRATEGIES: Mapping[str, Strategy] = MappingProxyType({row.name: row for row in _ROWS})


def find_strategy(name: str) -> Strategy:
    """Return the row called `name`. Raises UnknownStrategy, which lists what there is."""
    if name not in STRATEGIES:
        raise UnknownStrategy(
            f"there is no strategy {name!r}; there is: {', '.join(sorted(STRATEGIES))}"
        )
    return STRATEGIES[name]
