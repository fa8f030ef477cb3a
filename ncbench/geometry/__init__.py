"""The configurations neural collapse predicts, and the class hierarchies behind some of them.

`simplex_etf` for balanced classes, `seli` for imbalanced ones, `hierarchy_aware_frame` for classes in a `Hierarchy`.
Depends on torch alone.
"""

from ncbench.geometry.frame import HierarchyAwareFrame, hierarchy_aware_frame, smallest_similarity
from ncbench.geometry.gram import vectors_with_gram
from ncbench.geometry.hierarchy import Hierarchy
from ncbench.geometry.seli import SELI, seli
from ncbench.geometry.simplex import simplex_etf

__all__ = [
    "SELI",
    "Hierarchy",
    "HierarchyAwareFrame",
    "hierarchy_aware_frame",
    "seli",
    "simplex_etf",
    "smallest_similarity",
    "vectors_with_gram",
]
