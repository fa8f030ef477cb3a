"""Model selection: which epoch's model stands for the run.

The criterion ``last`` takes the last epoch; ``val_<metric>`` the best one by a metric of the validation split, any
whose card says which direction is better. Of epochs that are equally good by it, the best by ``group_mean_accuracy`` is
taken where the criterion needs bias labels, else by ``accuracy``, and of those the last. The test split is never used
to select. A criterion that needs the bias attribute of validation images counts as supervision ``val="bias"``, and so
does whatever goes by a split that was made by it: a criterion, or a method that reads anything of its images.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ncbench.contracts.cards import Measure
from ncbench.contracts.dataset import Dataset
from ncbench.contracts.errors import ConfigurationError, unknown_name
from ncbench.contracts.groups import group_counts
from ncbench.contracts.specs import Spec
from ncbench.discovery.registry import registry

if TYPE_CHECKING:  # the leaderboard reads criteria, and imports no torch
    from ncbench.contracts.task import Groups
    from ncbench.data.store.open import Store


@dataclass(frozen=True)
class Criterion:
    """How the epoch is chosen.

    Args:
        metric: Of the validation split, the best of which is taken; None for the last epoch.
        sign: 1 where higher is better, -1 where lower is.
        needs_bias: Whether the metric needs bias labels of validation images.
        needs_groups: Whether it needs inferred groups of them.
        always: Whether every run notes its best epoch, and not only one whose primary criterion it is.
    """

    metric: str | None = None
    sign: int = 1
    needs_bias: bool = False
    needs_groups: bool = False
    always: bool = True

    @property
    def of_groups(self) -> bool:
        """Whether the metric is of groups, those of the attribute or inferred ones."""
        return self.needs_bias or self.needs_groups

    @property
    def tie_break(self) -> str:
        """The metric of the validation split that tells equals apart."""
        return "group_mean_accuracy" if self.needs_bias else "accuracy"

    def uses_bias(self, reads_val: bool, made_by_bias: Callable[[], bool]) -> bool:
        """Whether a run that chooses by it has used bias labels of validation images, beside what its method declares.

        Args:
            reads_val: Whether the method reads anything of the validation images.
            made_by_bias: Tells whether the bias attribute decided which they are (see `Dataset.val_uses_bias`).
        """
        return self.needs_bias or ((reads_val or self.metric is not None) and made_by_bias())

    def rank(self, epoch: int, val_metrics: Mapping[str, float]) -> tuple[float, float, int] | None:
        """Return what is largest for the epoch to choose; None for one that cannot be chosen.

        That is its score, what breaks ties, and its number.
        """
        if self.metric is None:
            return float(epoch), 0.0, epoch
        if self.metric not in val_metrics:
            return None
        return self.sign * val_metrics[self.metric], val_metrics.get(self.tie_break, 0.0), epoch

    def choose(self, epochs: Sequence[tuple[int, Mapping[str, float]]]) -> tuple[int, int] | None:
        """Return the epoch to choose, and how many are equally good by the criterion itself, it included.

        Args:
            epochs: The number and the metrics of the validation split of each epoch there is to choose from.

        Returns:
            The pair, or None if no epoch can be chosen.
        """
        ranks = [rank for number, metrics in epochs if (rank := self.rank(number, metrics)) is not None]
        if not ranks:
            return None
        best = max(ranks)
        return best[-1], sum(rank[0] == best[0] for rank in ranks)


def criteria(measures: Mapping[str, Measure] | None = None) -> dict[str, Criterion]:
    """Return every criterion that these metrics give, by name; by default those of every installed plugin."""
    return {"last": Criterion()} | {
        f"val_{name}": Criterion(
            metric=name,
            sign=-1 if measure.direction == "lower" else 1,
            needs_bias=measure.needs_bias,
            needs_groups=measure.needs_groups,
            always=measure.shown_in == "progress",
        )
        for name, measure in (registry().measures() if measures is None else measures).items()
        if measure.direction != "neither" and "val" in measure.splits
    }


def find_criterion(name: str) -> Criterion:
    """Return the criterion of this name.

    Raises:
        ConfigurationError: There is none.
    """
    known = criteria()
    if name not in known:
        raise unknown_name("criterion", name, known, "val_ and a name of ncbench list metrics")
    return known[name]


def available_criteria(primary: str, has_val: bool, val_bias_known: bool, val_groups: bool = False) -> list[str]:
    """Return the criteria that a run notes the best epoch of: what the dataset's splits allow, the primary one too.

    Args:
        primary: By which the run's model is chosen.
        has_val: Whether there are validation images.
        val_bias_known: Whether their bias attribute is known.
        val_groups: Whether groups of them were inferred.
    """
    return [
        name
        for name, criterion in criteria().items()
        if (criterion.always or name == primary)
        and (criterion.metric is None or has_val)
        and (val_bias_known or not criterion.needs_bias)
        and (val_groups or not criterion.needs_groups)
    ]


def refuse_unfit_criterion(
    rule: str, setting: str, dataset: Dataset, spec: str, annotates_val: bool, otherwise: str = ""
) -> None:
    """Refuse a criterion that needs a validation split, or labels or groups of it, which are not there.

    Args:
        rule: The criterion's name.
        setting: Where it was given, for the message.
        dataset: Before any of it is read.
        spec: The dataset's.
        annotates_val: Whether there are inferred groups of validation images.
        otherwise: What needs neither, as a sentence without a full stop.

    Raises:
        ConfigurationError: Something is missing; the message says what would work.
    """
    criterion = find_criterion(rule)
    if criterion.needs_groups and not annotates_val:
        said = f" {otherwise}." if otherwise else ""
        raise ConfigurationError(
            f"{setting} needs inferred groups of the validation images, as --groups errors:val=true gives them.{said}"
        )
    unknown = criterion.needs_bias and not dataset.bias_names
    if not unknown and (criterion.metric is None or dataset.has_val is not False):
        return
    ways = [otherwise] if otherwise else []
    if dataset.has_val is False and "val" in type(dataset).Parameters.model_fields:
        given = Spec.parse(spec)
        ways.append(f"{Spec(given.name, {**given.parameters, 'val': 0.1})} holds one out")
    if unknown:
        ways.append("val_accuracy needs no bias labels")
    said = f" {', and '.join(ways)}." if ways else ""
    labels = " with bias labels" if criterion.needs_bias else ""
    raise ConfigurationError(f"{setting} needs a validation split{labels}, which {spec} does not have.{said}")


def check_criterion(primary: str, available: list[str], dataset: str, can_hold_out: bool) -> None:
    """Refuse a primary criterion that the dataset does not allow.

    Args:
        primary: The criterion.
        available: The criteria that it allows.
        dataset: Its spec.
        can_hold_out: Whether it has no validation split, and a parameter that makes one.

    Raises:
        ConfigurationError: The dataset has no validation split, or no bias labels on it.
    """
    if primary not in available:
        raise ConfigurationError(
            f"recipe.selection={primary} needs a validation split"
            f"{' with bias labels' if find_criterion(primary).needs_bias else ''}, which {dataset} does not have. "
            f"Possible here: {', '.join(available)}.{' Its parameter val=0.1 holds one out.' if can_hold_out else ''}"
        )


def smallest_group(store: Store, inferred: Groups | None = None) -> tuple[int, str, int] | None:
    """Return target, attribute value and number of validation images of the group that has the fewest; it may be none.

    Args:
        store: The dataset.
        inferred: Groups that take the attribute's place, if any.

    Returns:
        The three, of the groups that occur in training or validation; None where those of validation are unknown.
    """
    train, val = store.splits["train"], store.splits.get("val")
    if val is None:
        return None
    of_train, of_val, names = train.bias, val.bias, store.bias_names
    if inferred is not None:
        of_train, of_val = (None if group is None else group.numpy() for group in (inferred.train, inferred.val))
        names = inferred.names
    if of_val is None:
        return None
    size = len(store.class_names), len(names)
    count = group_counts(val.target, of_val, *size)
    there = count if of_train is None else count + group_counts(train.target, of_train, *size)
    groups = ((int(y), names[a], int(count[y, a])) for y, a in zip(*there.nonzero(), strict=True))
    return min(groups, key=lambda group: group[-1])
