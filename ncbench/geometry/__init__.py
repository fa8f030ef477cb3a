"""The configurations neural collapse predicts, and the class hierarchies behind some of them.

Depends on torch alone.
"""

from ncbench.geometry.hierarchy import Hierarchy
from ncbench.geometry.simplex import simplex_etf

__all__ = ["Hierarchy", "simplex_etf"]
