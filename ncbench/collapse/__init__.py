"""Neural collapse measured: NC1-NC4, CDNV, and distances to the geometries theory predicts.

`measure` takes features that are in memory. Features that come in batches are measured in one pass by
`ClassStatistics` and `measure_statistics` (all but NC4), or in two by `ClassMeans`, then `ResidualStatistics` and
`measure_residuals`.
Depends on torch alone.
"""

from ncbench.collapse.gram import etf_floor, gram_distance
from ncbench.collapse.means import ClassMeans
from ncbench.collapse.measures import class_geometry, measure, measure_residuals, measure_statistics
from ncbench.collapse.residuals import ResidualStatistics
from ncbench.collapse.statistics import ClassStatistics

__all__ = [
    "ClassMeans",
    "ClassStatistics",
    "ResidualStatistics",
    "class_geometry",
    "etf_floor",
    "gram_distance",
    "measure",
    "measure_residuals",
    "measure_statistics",
]
