"""The record: one JSON file a run, the same for every method and dataset.

The JSON Schema of :class:`Record` is committed beside this module (``record.schema.json``); a test keeps them equal.
"""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    FailFast,
    Field,
    JsonValue,
    ValidationError,
    model_validator,
)

from ncbench.contracts.errors import ConfigurationError, counted
from ncbench.contracts.parameters import Values, draws
from ncbench.contracts.specs import ATTRIBUTE, Scalar, Spec
from ncbench.data.files import Part, first_fault

Status = Literal["completed", "diverged", "interrupted", "failed"]
Split = Literal["train", "val", "test"]
Count = Annotated[int, Field(ge=0)]
Name = Annotated[str, Field(min_length=1, max_length=200)]
Phrase = Annotated[str, Field(min_length=1, max_length=2000)]
Numbers = dict[Annotated[str, Field(max_length=200)], float]
Member = TypeVar("Member")
Members = Annotated[list[Member], FailFast()]
"""A list that is looked through to its first fault: an error for each member costs a thousand times its bytes."""
Trials = Annotated[int, Field(ge=2, le=1000)]
"""Of a search: drawing them anew, which tells whether what was chosen is among them, takes no time."""
DrawSeed = Annotated[int, Field(ge=0, lt=2**63)]
TrialSeeds = Annotated[tuple[Count, ...], Field(min_length=1, max_length=100)]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Space = Annotated[dict[Name, Values], Field(min_length=1, max_length=100)]
FEW_IMAGES = 10  # in a group by which an epoch is chosen


class PluginPart(Part):
    """The distribution that brought a card, and its version."""

    distribution: Name
    version: Name


class SupervisionPart(Part):
    """The labels beyond the target that the run used, model selection included."""

    train: Literal["none", "bias"]
    val: Literal["none", "bias"]
    hierarchy: bool


class MethodPart(Part):
    """The method: canonical spec, every parameter, what it declared.

    `kind` tells a way to infer groups, whose runs others build on, from a training method, as which it is missing in
    the records written before it was there.
    """

    name: Name
    spec: Name
    parameters: dict[str, JsonValue]
    supervision: SupervisionPart
    kind: Literal["method", "groups"] = "method"
    plugin: PluginPart


class DatasetPart(Part):
    """The dataset: canonical spec, every parameter, and the SHA-256 of its pixels and labels.

    `aligned_bias` is, for each class, the bias value that goes along with it in training; null where none does, and
    missing in the records written before it was there.
    `version` is that of the dataset's manifest, which goes up when the same sources give other images or labels; null
    in the records written before it was there.
    `mismatch` says how the data differ from what the dataset's manifest promises, a phrase each; it is empty if they
    don't, as in the records written before it was there.
    """

    name: Name
    spec: Name
    parameters: dict[str, JsonValue]
    synthetic: bool
    fingerprint: Name
    version: Name | None = None
    mismatch: list[Phrase] = Field(default_factory=list, max_length=100)
    aligned_bias: list[Count] | None = None
    plugin: PluginPart

    @property
    def caveat(self) -> str:
        """What must be said beside every number: that the data are not the real, released ones; empty if they are."""
        if self.synthetic:
            return "synthetic data, not the real dataset"
        count = len(self.mismatch)
        return f"data differ from the released: {counted(count, 'difference')}" if count else ""


class BackbonePart(Part):
    """The backbone: canonical spec and every parameter."""

    name: Name
    spec: Name
    parameters: dict[str, JsonValue]
    plugin: PluginPart


class BasePart(Part):
    """The finished run that this one builds on: of the same dataset, backbone and seed.

    `model` is the SHA-256 of the model that it left, and `supervision` are the labels that it used, its own base's too.
    `parameters` are those of its method, and `recipe` is its own. All but the model are missing in the records written
    before they were there. `base` is the run that it builds on itself. `kind` tells a run that infers groups.
    """

    run_id: Name
    method: Name
    kind: Literal["method", "groups"] = "method"
    supervision: SupervisionPart | None = None
    model: Name
    parameters: dict[str, JsonValue] | None = None
    recipe: dict[str, JsonValue] | None = None
    plugin: PluginPart | None = None
    base: BasePart | None = None

    @property
    def name(self) -> str:
        """Of its method."""
        return self.method.partition(":")[0]


class InferredPart(Part):
    """Groups of the training images that a run inferred.

    `digest` is the SHA-256 of their file, and `sizes` says how many images each group has. `agreement` says how good
    they are by the attribute that they stand in for, where that is known: `adjusted_rand_index`, `conflicting_recall`
    and `conflicting_precision`, as :func:`ncbench.contracts.groups.agreement` defines them.
    """

    digest: Name
    sizes: Annotated[Members[Count], Field(min_length=1)]
    agreement: Numbers = Field(default_factory=dict)


class GroupsFromPart(InferredPart):
    """The inferred groups that a run trained on in the attribute's place: what inferred them, and in which run.

    That run is the `base` of this one.
    """

    spec: Name
    base: Name


class SettingsFromPart(Part):
    """Where settings that were not given come from, and which ones differ from that: by hand, or by a search.

    `source` is ``"published"`` if the method, or what infers its groups, publishes settings for the dataset, of which
    what they leave open is default. `changed` names ``"method.KEY"``, ``"recipe.KEY"``, ``"base.recipe.KEY"`` or
    ``"backbone"``.
    """

    source: Literal["published", "default"]
    changed: Annotated[Members[Name], Field(max_length=1000)]


class SearchPart(Part):
    """The search that chose some of the run's settings by validation metrics of other runs, its trials.

    `trials` settings were drawn from `space` by `seed`, and each was run with `seeds`. `chosen` is what was drawn for
    the trial that is best by `criterion`. `space_given` tells a space that was written down for all methods from each
    method's own, without what was set.
    """

    trials: Trials
    seed: Annotated[DrawSeed, Field(description="of the draws")]
    seeds: Annotated[TrialSeeds, Field(description="of the trials' runs")]
    space: Space
    space_given: bool = False
    criterion: Name
    chosen: dict[Name, bool | int | float | str | None] = Field(min_length=1, max_length=100)

    @classmethod
    def read(cls, given: str | Mapping[str, Any]) -> SearchPart:
        """Read what a sweep says of a search, as JSON or as what that holds.

        Raises:
            ConfigurationError: It says something else.
        """
        try:
            return cls.model_validate_json(given) if isinstance(given, str) else cls.model_validate(given)
        except ValidationError as error:
            raise ConfigurationError("search: {}: {}.".format(*first_fault(error))) from error

    def __str__(self) -> str:
        settings = len({tuple(drawn.values()) for drawn in self.drawn()})
        different = f" ({settings} different)" if settings < self.trials else ""
        each = f"{counted(len({*self.seeds}), 'seed')} each"
        whose = "a given" if self.space_given else "its own"
        return f"searched: {self.trials} trials{different}, {each}, of {whose} space by {self.criterion}"

    def claim(self) -> dict[str, Any]:
        """Return what makes the id of a run that it chose another than that of the same settings by hand."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def drawn(self) -> list[dict[str, Scalar]]:
        """Return the settings of its trials, drawn anew."""
        return draws(self.space, self.trials, self.seed)

    def compared(self) -> set[str]:
        """Return the settings that it chose: those of which its trials had two values at least."""
        drawn = self.drawn()
        return {key for key in self.space if len({each[key] for each in drawn}) > 1}

    def unlike(self, parameters: Mapping[str, JsonValue], settings: Mapping[str, JsonValue]) -> tuple[str, str] | None:
        """Return a setting that is chosen otherwise than a run has it, and how; arguments of :meth:`contradiction`."""
        has = {**{f"method.{key}": value for key, value in parameters.items()}, **settings}
        wrong = (key for key, value in self.chosen.items() if key not in has or has[key] != value)
        return next(((key, f"it is {self.chosen[key]!r}, and the run has {has.get(key)!r}") for key in wrong), None)

    def contradiction(
        self, parameters: Mapping[str, JsonValue], settings: Mapping[str, JsonValue]
    ) -> tuple[str, str] | None:
        """Return what of it cannot be, by itself or beside the run that it was chosen for, as field and reason.

        Args:
            parameters: Of the run's method.
            settings: As :attr:`Record.settings`.
        """
        if (wrong := self.unlike(parameters, settings)) is not None:
            return f"chosen.{wrong[0]}", wrong[1]
        if self.chosen not in self.drawn():
            return "chosen", f"it is not among the {counted(self.trials, 'trial')} that seed {self.seed} draws of space"
        return None


class Group(Part):
    """One cell (target, bias) of a split; bias is null where the attribute is unknown."""

    target: Count
    bias: Count | None
    count: Count
    correct: Count

    @model_validator(mode="after")
    def _no_more_correct_than_images(self) -> Group:
        if self.correct > self.count:
            raise ValueError(f"group ({self.target}, {self.bias}) has {self.correct} correct of {self.count} images")
        return self


class Selected(Part):
    """The epoch one criterion chose, and the metrics of its model as they stood at that epoch.

    `tied` is the number of epochs that are equally good by the criterion, this one included. It is missing in the
    records written before ties were broken, in which the first of them is chosen.
    `smallest_group` is the number of validation images in the smallest of the groups that occur in training or
    validation; null if the criterion needs no groups.

    Where the method fits something after training, only the primary criterion is there, with the metrics after it;
    epoch 0 is that of a method which trains nothing before.
    """

    epoch: Count
    metrics: dict[Split, Numbers]
    tied: Annotated[int, Field(ge=1)] | None = None
    smallest_group: Count | None = None


class Epoch(Part):
    """One epoch of the history: losses are means over the epoch's images, null if not finite."""

    epoch: Annotated[int, Field(ge=1)]
    stage: Name
    lr: float
    losses: dict[str, float | None]
    metrics: dict[Split, Numbers]
    seconds: Numbers


def _whole(value: Any) -> Any:
    if isinstance(value, bool | float):  # which a literal takes for 1
        raise ValueError("it is not the integer 1")
    return value


class Record(BaseModel):
    """The standard record of a run.

    Accuracies are fractions in [0, 1]; every one of them can be recomputed from the integers in `groups`.
    """

    model_config = ConfigDict(frozen=True, extra="allow", allow_inf_nan=False)

    schema_version: Annotated[Literal[1], BeforeValidator(_whole)] = 1
    run_id: Name
    status: Status
    reason: str | None = Field(None, description="why the run is not completed, in one line")
    method: MethodPart
    dataset: DatasetPart
    backbone: BackbonePart
    groups_from: GroupsFromPart | None = Field(
        None, description="the inferred groups that it trained on; null where groups are those of the attribute"
    )
    base: BasePart | None = None
    search: SearchPart | None = Field(None, description="what chose settings; null where they were given by hand")
    settings_from: SettingsFromPart | None = Field(
        None, description="which settings are the pair's own; missing in the records written before it was there"
    )
    plugin_files: dict[Name, Hash] = Field(default_factory=dict, description="given with --plugin: name -> SHA-256")
    seed: int
    recipe: dict[str, JsonValue]
    primary_metric: Name
    selection: dict[str, Selected]
    metrics: dict[Split, Numbers]
    groups: dict[Split, Members[Group]]
    report: Numbers = Field(default_factory=dict, description="what the method itself has to report, by name")
    fitted: list[Split] = Field(
        default_factory=list,
        max_length=3,
        description="train where the method fits something after training; val where it has read anything of those "
        "images, then or before, so that metrics of them are not of held-out images",
    )
    inferred: InferredPart | None = Field(None, description="the groups that it inferred; null of a training method")
    history: Members[Epoch]
    terminal_phase_epoch: Count | None = Field(
        None,
        description="the last stage's first measured epoch with zero training error (Papyan et al., PNAS 2020), "
        "or null",
    )
    environment: dict[str, JsonValue]
    timing: Numbers
    created: datetime.datetime

    def as_base(self, model: str) -> BasePart:
        """Return what the record of a run that builds on this one says of it; `model` is the SHA-256 of its model."""
        return BasePart(
            run_id=self.run_id,
            method=self.method.spec,
            kind=self.method.kind,
            supervision=self.method.supervision,
            model=model,
            parameters=self.method.parameters,
            recipe=self.recipe,
            plugin=self.method.plugin,
            base=self.base,
        )

    def __repr__(self) -> str:  # every field of it would be tens of thousands of characters
        return f"Record({self.run_id!r}, {self.status!r})"

    @property
    def title(self) -> str:
        """What names it in a sentence: ``"group_dro+eiil on waterbirds, seed 0"``."""
        return f"{self.label} on {self.dataset.spec}, seed {self.seed}"

    @property
    def settings(self) -> dict[str, JsonValue]:
        """Recipe and bases' recipes, as they are set: ``"recipe.KEY"`` and ``"base.recipe.KEY"`` -> value."""
        return {**{f"recipe.{key}": value for key, value in self.recipe.items()}, **self.base_recipes}

    @property
    def inference(self) -> str:
        """What inferred its groups, with every parameter, as it is named by ``--groups``."""
        if self.groups_from is None or self.base is None:
            return ATTRIBUTE
        given = self.base.parameters or Spec.parse(self.base.method).parameters
        return str(Spec(self.base.name, given))  # type: ignore[arg-type]

    @property
    def label(self) -> str:
        """The method's spec, with that of what inferred its groups: ``"group_dro+eiil"``."""
        return self.method.spec if self.groups_from is None else f"{self.method.spec}+{self.groups_from.spec}"

    @property
    def bases(self) -> dict[str, BasePart]:
        """The runs that this one builds on, the nearest first: ``"base."`` -> run, ``"base.base."`` -> the next."""
        found: dict[str, BasePart] = {}
        prefix, base = "base.", self.base
        while base is not None:
            found[prefix] = base
            prefix, base = f"{prefix}base.", base.base
        return found

    @property
    def base_recipes(self) -> dict[str, JsonValue]:
        """Their recipes, as they are set: ``"base.recipe.KEY"`` -> value."""
        recipes = {prefix: base.recipe or {} for prefix, base in self.bases.items()}
        return {f"{prefix}recipe.{key}": value for prefix, recipe in recipes.items() for key, value in recipe.items()}
