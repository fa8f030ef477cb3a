"""The method keeps ncbench's contract: one test a check."""

from __future__ import annotations

from ncbench import conformance


@conformance.parametrize("confidence_penalty")
def test_it_conforms(check):
    check()
