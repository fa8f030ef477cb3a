"""What the tests of stores have too: a cache of its own for every test, twins, and the cards."""

from __future__ import annotations

from tests.data.conftest import CARDS, bar_root, cache, copy_tree, make_manifest, mnist_root, no_data, root, twin

__all__ = ["CARDS", "bar_root", "cache", "copy_tree", "make_manifest", "mnist_root", "no_data", "root", "twin"]
