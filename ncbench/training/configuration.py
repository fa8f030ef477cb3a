"""From what the user typed to everything a run needs, with every default resolved."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ncbench.contracts.cards import Published, Supervision
from ncbench.contracts.dataset import Dataset
from ncbench.contracts.errors import ConfigurationError, NcbenchError, PluginError, unknown_name
from ncbench.contracts.method import Backbone, GroupInference, Method, refuse_missing_labels
from ncbench.contracts.parameters import Parameters
from ncbench.contracts.specs import ATTRIBUTE, Spec
from ncbench.data.sources.manifest import Manifest, load_manifest
from ncbench.discovery.registry import registry, singular
from ncbench.discovery.resolved import Resolved, resolve_spec
from ncbench.features.frozen import FrozenFeatures
from ncbench.records.identity import run_id
from ncbench.records.record import SearchPart
from ncbench.training.recipe import BASE, Recipe, base_settings, recipe_settings, refuse_without_effect
from ncbench.training.selection import find_criterion, refuse_unfit_criterion

SEEDS = 2**63
"""One more than the largest seed."""


@dataclass(frozen=True)
class Configuration:
    """Everything that determines a run's result.

    Args:
        method: With published parameters for the dataset filled in; a training method, or a way to infer groups.
        dataset: The dataset.
        backbone: The backbone.
        recipe: Defaults, then the dataset's manifest, then the method's published settings, then the user's.
        manifest: The dataset's manifest.
        supervision: What the method uses with these parameters, of an attribute or of what was inferred in its place.
        seed: The seed.
        synthetic: Whether the dataset's generated twin is used.
        allow_mismatch: Whether data that are not what the manifest promises are gone on with.
        base: Of the run that this one builds on; None if it builds on none.
        published: The settings that its source publishes for this dataset, on these groups; None where there are none.
        search: What chose some of the settings; None if they were given by hand.
    """

    method: Resolved
    dataset: Resolved
    backbone: Resolved
    recipe: Recipe
    manifest: Manifest
    supervision: Supervision
    seed: int
    synthetic: bool
    allow_mismatch: bool = False
    base: Configuration | None = None
    published: Published | None = None
    search: SearchPart | None = None

    @property
    def infers(self) -> bool:
        """Whether its method is a way to infer groups."""
        return issubclass(self.method.factory, GroupInference)

    @property
    def inference(self) -> Configuration | None:
        """The run that infers the groups that this one trains on; None if they are those of the attribute."""
        return self.base if self.base is not None and self.base.infers else None

    @property
    def annotates_val(self) -> bool:
        """Whether there are inferred groups of validation images."""
        chosen = None if self.inference is None else self.inference.method
        return chosen is not None and bool(chosen.factory.annotates_val(chosen.params))

    def labels_used(self, reads_val: bool) -> Supervision:
        """Return the labels that the method and the selection used; those of a base are in its record.

        Inferred groups are no labels.

        Args:
            reads_val: Whether the method has read anything of the validation images.
        """
        rules = [self.recipe.selection, *([] if self.search is None else [self.search.criterion])]
        by_bias = any(
            find_criterion(rule).uses_bias(
                reads_val, lambda: self.dataset.factory.val_uses_bias(self.dataset.params.own)
            )
            for rule in rules
        )
        own = self.supervision if self.inference is None else Supervision(hierarchy=self.supervision.hierarchy)
        return own.joined(Supervision(val="bias")) if by_bias else own

    @property
    def run_id(self) -> str:
        """An identifier that follows from the configuration and the seed alone."""
        return run_id(
            self.method.spec,
            self.dataset.spec,
            self.backbone.spec,
            str(self.recipe.spec("recipe")),
            self.seed,
            synthetic=self.synthetic,
            allow_mismatch=self.allow_mismatch,
            base=None if self.base is None else self.base.run_id,
            infers=self.infers,
            search=None if self.search is None else self.search.claim(),
        )

    @property
    def settings(self) -> dict[str, Any]:
        """Its recipe and those of the runs that it builds on, as :attr:`Record.settings`."""
        of_base = {} if self.base is None else self.base.settings
        return {
            **{f"recipe.{key}": value for key, value in self.recipe.as_dict().items()},
            **{f"{BASE}{key}": value for key, value in of_base.items()},
        }

    def make_backbone(self, input_shape: tuple[int, ...], of_features: bool = False) -> Callable[..., Backbone]:
        """Return what creates fresh backbones for images (C, H, W), or vectors (D,): the run's, or of another spec.

        Where the vectors are the features that the run's backbone gave (`of_features`), what takes its place only hands
        them on.

        It raises :class:`PluginError` where the backbone does not say how many features it has, and
        :class:`ConfigurationError` where a spec that is given is not valid, or is of weights for other images than the
        recipe's.
        """

        def make(spec: str | None = None) -> Backbone:
            if spec is None and of_features:
                return FrozenFeatures(input_shape, Parameters())
            resolved = self.backbone if spec is None else self._other_backbone(spec)
            backbone: Backbone = resolved.factory(input_shape, resolved.params)
            if not isinstance(getattr(backbone, "feature_dim", None), int):
                raise PluginError(
                    f"The backbone {resolved.name!r} must set feature_dim, its number of features, in __init__."
                )
            if self.recipe.compile:
                backbone.compile()
            return backbone

        return make

    def _other_backbone(self, spec: str) -> Resolved:
        found = resolve_spec("backbones", Spec.parse(spec), {})
        scaling = found.factory.input_scaling(found.params)
        if scaling not in (None, self.recipe.input_scaling):
            setting = f"{BASE if self.infers else ''}recipe.input_scaling"
            raise ConfigurationError(
                f"The backbone {found.spec} takes images with input_scaling={scaling}, not "
                f"{self.recipe.input_scaling}: set {setting}={scaling}."
            )
        return found


def resolve(
    method: str,
    dataset: str,
    backbone: str | None,
    seed: int,
    settings: Mapping[str, Any],
    synthetic: bool,
    allow_mismatch: bool = False,
    groups: str = ATTRIBUTE,
    *,
    kind: Literal["methods", "groups"] = "methods",
    search: SearchPart | None = None,
) -> Configuration:
    """Look up every name and validate every value.

    Args:
        method: Spec of the method, or of the way to infer groups.
        dataset: Spec of the dataset.
        backbone: Spec of the backbone, or None for the published or the dataset's default.
        seed: The seed.
        settings: ``"recipe.KEY"`` -> value, the user's changes to the recipe; ``"base.recipe.KEY"`` for those to the
            recipe of the run that it builds on.
        synthetic: Whether to use the dataset's generated twin.
        allow_mismatch: Whether to go on with data that are not what the manifest promises.
        groups: Spec of the way to infer the groups that the method trains on; ``"attribute"`` if none are inferred.
        kind: What `method` names.
        search: What chose some of these settings; None if they were given by hand.

    Raises:
        ConfigurationError: A name, a key or a value is not valid.
        PluginError: A plugin cannot be imported or breaks its contract.
    """
    if type(seed) is not int or not 0 <= seed < SEEDS:
        raise ConfigurationError(f"A seed is a whole number from 0 to 2^63 - 1, and {seed!r} is none.")
    dataset_spec, method_spec = Spec.parse(dataset), Spec.parse(method)
    if kind == "groups" and method_spec.name == ATTRIBUTE:
        raise ConfigurationError("Groups of the attribute are not inferred: give --groups another name.")
    resolved_dataset = resolve_spec("datasets", dataset_spec, {})
    manifest = load_manifest(resolved_dataset.registered.card.manifest)
    metrics = registry().measures()
    if manifest.primary_metric not in metrics:
        raise unknown_name(f"primary metric of {dataset}", manifest.primary_metric, metrics, "ncbench list metrics")

    found = registry().find(kind, method_spec.name)
    method_class, contract = found.load(), Method if kind == "methods" else GroupInference
    if not (isinstance(method_class, type) and issubclass(method_class, contract)):
        raise PluginError(f"The factory of {method_spec.name!r} is not a subclass of ncbench.{contract.__name__}.")
    found.card.refuse_unnamed_tuning(method_class.published)
    inferred = Spec.parse(groups) != Spec(ATTRIBUTE)
    source = registry().find("groups", Spec.parse(groups).name).load() if inferred else None
    of_pair = getattr(source, "published_with", {}).get(method_spec.name, {})
    published = of_pair.get(dataset_spec.name) or method_class.published.get(dataset_spec.name)
    resolved_method = resolve_spec(kind, method_spec, published.parameters if published else {})
    declared = found.card.supervision
    supervision = method_class.supervision(resolved_method.params, declared)
    if not declared.covers(supervision):
        raise PluginError(f"The {singular(kind)} {method_spec.name!r} uses more supervision than its card declares.")

    backbone_text = backbone or (published.backbone if published else None) or manifest.backbone
    resolved_backbone = resolve_spec("backbones", Spec.parse(backbone_text), {})
    if method_class.learns_features and is_frozen(resolved_backbone):
        raise _given_features(resolved_method, resolved_backbone)

    # Groups are inferred by the model of the last epoch: what was chosen by labels would have used them.
    of_dataset = {"selection": manifest.selection if kind == "methods" else "last", **manifest.recipe}
    base_spec, of_base = method_class.base(resolved_method.params), base_settings(settings)
    if inferred:
        _refuse_groups(resolved_method, supervision, base_spec, groups)
        base_spec = groups
    elif base_spec is not None and Spec.parse(base_spec).name == method_spec.name:
        raise PluginError(f"The method {method_spec.name!r} builds on itself, {base_spec}.")
    if of_base and base_spec is None:
        raise ConfigurationError(f"{method} builds on no other run, so that {BASE}{next(iter(of_base))} means nothing.")
    own = {key: value for key, value in settings.items() if not key.startswith(BASE)}
    recipe_values = {**of_dataset, **(published.recipe if published else {})}
    own_epochs = kind == "groups" and "epochs" in type(resolved_method.params).model_fields
    if own_epochs or not found.card.trains:
        refuse_without_effect(resolved_method.name, own_epochs, base_spec, recipe_settings(own), recipe_values)
    recipe_values |= recipe_settings(own) | _prescribed_by(resolved_backbone, own)
    configuration = Configuration(
        method=resolved_method,
        dataset=resolved_dataset,
        backbone=resolved_backbone,
        recipe=Recipe.build(recipe_values, owner="the recipe"),
        manifest=manifest,
        supervision=supervision,
        seed=seed,
        synthetic=synthetic,
        allow_mismatch=allow_mismatch,
        base=None
        if base_spec is None
        else resolve(
            base_spec,
            dataset,
            resolved_backbone.spec,
            seed,
            of_base,
            synthetic,
            allow_mismatch,
            kind="groups" if inferred else "methods",
        ),
        published=published,
        search=search,
    )
    if search is not None:
        find_criterion(search.criterion)
        wrong = search.contradiction(resolved_method.params.as_dict(), configuration.settings)
        if wrong is not None:
            raise ConfigurationError("The search that chose these settings contradicts them: {}: {}.".format(*wrong))
    return configuration


def _refuse_groups(method: Resolved, supervision: Supervision, base: str | None, groups: str) -> None:
    """Refuse inferred groups for a method that does not train on groups, or builds on another run already.

    Raises:
        ConfigurationError: It is one of these.
    """
    given = f"--groups {groups}"
    if not method.factory.consumes_groups:
        raise ConfigurationError(
            f"{method.name} trains on no groups, so that {given} means nothing to it. Methods that do: "
            f"{', '.join(_methods_that('consumes_groups'))}."
        )
    if supervision.train != "bias":
        raise ConfigurationError(f"{method.spec} reads no groups, so that {given} means nothing to it. Leave it out.")
    if base is not None:
        raise ConfigurationError(
            f"{method.name} builds on a run of {base} already, and groups are inferred by a run that is built on, too: "
            f"{given} cannot be had. Leave it out."
        )


def _methods_that(does: str) -> list[str]:
    """Return the names of the methods whose class has a true attribute of this name."""
    names = []
    for name in registry().names("methods"):
        with contextlib.suppress(PluginError, AttributeError):
            if getattr(registry().find("methods", name).load(), does):
                names.append(name)
    return names


def _prescribed_by(backbone: Resolved, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the treatment of images that a backbone's weights prescribe, and that a frozen one does.

    Raises:
        ConfigurationError: The user asks for another one.
    """
    prescribed = {}
    if (scaling := backbone.factory.input_scaling(backbone.params)) is not None:
        prescribed["input_scaling"] = scaling
    if is_frozen(backbone):
        prescribed["augmentation"] = "none"
    for key, value in prescribed.items():
        if settings.get(f"recipe.{key}", value) != value:
            raise ConfigurationError(
                f"The backbone {backbone.spec} takes images with recipe.{key}={value}; leave out that setting."
            )
    return prescribed


def is_frozen(backbone: Resolved) -> bool:
    """Whether methods train on the features that the backbone gives once and for all."""
    return bool(getattr(backbone.params, "frozen", False))


def refuse_lacking(configuration: Configuration, dataset: Dataset) -> None:
    """Refuse a method or a criterion that needs labels, or a split, which the dataset does not declare.

    What passes here may still be refused once the data are read.

    Raises:
        ConfigurationError: They are missing; the message says what is, and what would work.
    """
    known, has_val = bool(dataset.bias_names), dataset.has_val is not False
    rule, spec = configuration.recipe.selection, configuration.dataset.spec
    inferred = configuration.inference is not None
    last = "recipe.selection=last needs none"
    refuse_unfit_criterion(rule, f"recipe.selection={rule}", dataset, spec, configuration.annotates_val, otherwise=last)
    refuse_missing_labels(
        configuration.method.factory,
        configuration.method.name,
        configuration.supervision,
        train=known or inferred,
        val=(configuration.annotates_val if inferred else known) and has_val,
        hierarchy=dataset.hierarchy is not None,
    )
    if not has_val and (refusal := configuration.method.factory.without_val(configuration.method.params)):
        raise ConfigurationError(refusal)


def refuse_unfit(configuration: Configuration, dataset: Dataset) -> None:
    """Refuse what :func:`refuse_lacking` does, and a backbone that the images are not for.

    Raises:
        ConfigurationError: It is so.
        DataError: A file that the backbone needs is missing.
    """
    refuse_lacking(configuration, dataset)
    # The standard scaling needs a mean for each channel, which the manifest gives; given weights need its colours.
    backbone = configuration.backbone
    built = backbone.factory.input_scaling(backbone.params) is not None or configuration.method.factory.learns_features
    if dataset.image_size is not None and (built or configuration.recipe.input_scaling == "standard"):
        height, width = dataset.image_size
        refuse_unfit_backbone(configuration, (len(configuration.manifest.channel_mean), height, width))


def refuse_unfit_backbone(configuration: Configuration, input_shape: tuple[int, ...]) -> None:
    """Refuse a backbone that does not take inputs (C, H, W) or (D,), or learns no features for a method that needs it.

    Raises:
        ConfigurationError: It is so.
        DataError: A file that the backbone needs is missing.
    """
    try:
        backbone = configuration.make_backbone(input_shape)()
    except NcbenchError:
        raise
    except Exception:
        return  # a fault in a plugin is explained by the record of the run that hits it
    learns = not is_frozen(configuration.backbone) and any(each.requires_grad for each in backbone.parameters())
    if configuration.method.factory.learns_features and not learns:
        raise _given_features(configuration.method, configuration.backbone)


def _given_features(method: Resolved, backbone: Resolved) -> ConfigurationError:
    return ConfigurationError(
        f"{method.name} acts on features while they are learned, and those of {backbone.spec} are given. Use a "
        "backbone that is trained: without frozen=true, or --backbone mlp, which puts layers between; or choose "
        f"another method than {', '.join(_methods_that('learns_features'))}."
    )
