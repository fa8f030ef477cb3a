"""The dataset's bias attribute, in the form in which groups are inferred."""

from __future__ import annotations

from collections.abc import Sequence

from ncbench import GroupInference, Groups, SplitView, Stage


class Attribute(GroupInference):
    """Groups are those of the labelled bias attribute.

    No run is made for it: a method is given the attribute itself. This is the same as an inference, which the checks of
    methods compare with that: training on these groups equals training on the attribute bit for bit.

    Supervision: the bias attribute of training images.
    """

    alternative = "Infer groups: --groups errors."

    def stages(self, epochs: int) -> Sequence[Stage]:
        """Return none: nothing is trained."""
        return []

    def infer(self, train: SplitView, val: SplitView | None) -> Groups:
        """Return the attribute."""
        return Groups(train.bias, self.task.num_bias)
