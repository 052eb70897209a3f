"""Query strategies for pool-based active learning: arrays in, a full order out.

Knows numpy. Must not know Label Studio, Flask, torch models or where the arrays come from.

    ranking = rank("uherding", Candidates(task_ids_N, probs_NC, embeddings_ND),
                   Labeled(embeddings_MD, labels_M), head=1000, rng=np.random.default_rng(0))
    ranking.order      # pool rows, most wanted first
"""

from strategies.arrays import Candidates, Labeled
from strategies.clusters import cluster_pool
from strategies.explain import Explanation, explain
from strategies.ranking import Ranking, rank
from strategies.reasons import Reason
from strategies.repair import repair
from strategies.table import STRATEGIES, Strategy
from strategies.uncertainty import UNCERTAINTIES

__all__ = [
    "STRATEGIES",
    "UNCERTAINTIES",
    "Candidates",
    "Explanation",
    "Labeled",
    "Ranking",
    "Reason",
    "Strategy",
    "cluster_pool",
    "explain",
    "rank",
    "repair",
]
