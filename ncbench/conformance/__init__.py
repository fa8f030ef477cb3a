"""Checks that a plugin keeps its contract, for its author to run::

    ncbench plugins check my_method

or, in the plugin's own tests::

    from ncbench import conformance

    @conformance.parametrize("my_method")
    def test_it_conforms(check):
        check()

or ``conformance.check("my_method")``, which returns a report. A check that is known to fail is named with the reason:
``expected_failures={"trains_in_bfloat16": "its loss needs float32"}``; it is reported once it passes. Everything runs
on the CPU, on images of a few pixels.
"""

from ncbench.conformance.kit import Outcome, Report, check, checks, parametrize
from ncbench.conformance.subject import Check, ConformanceError, Skipped

__all__ = ["Check", "ConformanceError", "Outcome", "Report", "Skipped", "check", "checks", "parametrize"]
