"""What labels a method declares that it uses, from none to the bias attribute of every training image."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Literal, get_args

LabelUse = Literal["none", "bias"]


@dataclass(frozen=True)
class Supervision:
    """The labels beyond the target that a method uses.

    The runner hands over only what is declared here; anything else raises
    :class:`~ncbench.contracts.errors.SupervisionError` when it is read.

    Args:
        train: ``"bias"`` if the bias attribute of training images is used.
        val: ``"bias"`` if the bias attribute of validation images is used, by the method or to select the model.
        hierarchy: Whether the class hierarchy is used.

    Raises:
        ValueError: A value is none of these.
    """

    train: LabelUse = "none"
    val: LabelUse = "none"
    hierarchy: bool = False

    def __post_init__(self) -> None:
        for split, use in (("train", self.train), ("val", self.val)):
            if use not in get_args(LabelUse):
                raise ValueError(f"Supervision({split}={use!r}) must be one of {', '.join(get_args(LabelUse))}")

    def covers(self, other: Supervision) -> bool:
        """Whether everything `other` uses is declared here too."""
        return (
            (self.train == "bias" or other.train == "none")
            and (self.val == "bias" or other.val == "none")
            and (self.hierarchy or not other.hierarchy)
        )

    def as_dict(self) -> dict[str, str | bool]:
        """Return the declaration as plain values, for the record."""
        return asdict(self)
