"""Checks of methods, on problems of a few dozen images of a few pixels: what it declares, and that it trains."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from ncbench.conformance.problem import absent_groups, make_problem, without_bias, without_val
from ncbench.conformance.properties import exactness
from ncbench.conformance.properties.common import (
    CHECKS_OF_CARDS,
    CHECKS_OF_PARAMETERS,
    choices,
    require_backbone,
    variants,
)
from ncbench.conformance.subject import Property, Skipped, Subject, builds_on, require, saying
from ncbench.conformance.training import RECIPE, build, supervision, train, trained
from ncbench.contracts.cards import Published, Supervision
from ncbench.contracts.errors import ConfigurationError
from ncbench.contracts.method import Stage
from ncbench.contracts.parameters import Parameters, draws
from ncbench.contracts.soundness import sound_search_space
from ncbench.contracts.specs import Spec
from ncbench.contracts.task import Groups
from ncbench.data.store.open import Store
from ncbench.training.recipe import Recipe


def published_settings_are_valid(subject: Subject) -> None:
    """Published settings name their source, and are valid; those tuned on test are on the card."""
    for dataset, published in subject.factory.published.items():
        with saying(f"the settings for {dataset!r}"):
            require_valid(published, subject.factory.Parameters, subject.spec.name)
    subject.card.refuse_unnamed_tuning(subject.factory.published)


def require_valid(published: object, parameters: type[Parameters], owner: str) -> None:
    """Require published settings to name their source, and to be ones that the parameters and the recipe take."""
    require(isinstance(published, Published), "they are no ncbench.Published")
    assert isinstance(published, Published)
    require(bool(published.source.strip()), "they name no source")
    parameters.build(published.parameters, owner=owner)
    Recipe.build(published.recipe, owner="the recipe")
    if published.backbone is not None:
        require_backbone(published.backbone)


def search_space_is_valid(subject: Subject) -> None:
    """What a search tries are settings that its parameters, and the recipe if it trains, take alone and together."""
    space = sound_search_space(subject.factory)
    tried = draws(space, trials=20, seed=0)
    for key, values in space.items():
        tried += [{key: value} for value in (values if isinstance(values, tuple) else values.bounds)]
    models = {"method": subject.factory.Parameters, "recipe": Recipe}
    for settings in tried:
        with saying(f"its search_space, of which {settings} may come,"):
            given: dict[str, dict[str, Any]] = {part: {} for part in models}
            for name, value in settings.items():
                part, _, key = name.partition(".")
                require(part in models, f"{name!r} is neither 'method.KEY' nor 'recipe.KEY'")
                require(part == "method" or subject.card.trains, f"{name!r} means nothing to what does not train")
                given[part][key] = value
            for part, model in models.items():
                model.build(given[part], owner=f"the {part}")


def supervision_is_within_the_declared(subject: Subject) -> None:
    """Whatever its parameters are, the method uses no more labels than its card declares."""
    declared = subject.card.supervision
    for values in ({}, dict(subject.spec.parameters), *choices(subject.factory.Parameters, {}, subject.spec.name)):
        params = subject.factory.Parameters.build(values, owner=subject.spec.name)
        used = subject.factory.supervision(params, declared)
        named = f"with {values}" if values else "by default"
        require(isinstance(used, Supervision), f"supervision() returns a {type(used).__name__} {named}")
        require(declared.covers(used), f"it uses {used} {named}, more than the {declared} on its card")


def card_says_what_it_builds_on(subject: Subject) -> None:
    """Its card names the method on whose runs it builds, and says whether it trains anything, as the board reads it."""
    card, spec = subject.card, subject.factory.base(subject.params)
    name = "" if spec is None else Spec.parse(spec).name
    require(card.builds_on == name, f"it builds on {name!r}, but builds_on={card.builds_on!r} is on its card")
    epochs = sum(stage.epochs for stage in subject.factory.stages(build(subject, make_problem()), 10))
    require(card.trains == (epochs > 0), f"it has {epochs} epochs of 10, but trains={card.trains} is on its card")


def stages_are_sound(subject: Subject) -> None:
    """Stages have names of their own, and at least one has epochs, even where the recipe has just one.

    A method that builds on another run may have none.
    """
    method = build(subject, make_problem())
    for epochs in (1, 2, 10):
        stages = subject.factory.stages(method, epochs)
        require(all(isinstance(stage, Stage) for stage in stages), "stages() must return ncbench.Stage objects")
        names = [stage.name for stage in stages]
        require(len(set(names)) == len(names), f"stages share a name: {', '.join(names)}")
        builds = subject.factory.base(subject.params) is not None
        trained = builds or any(stage.epochs > 0 for stage in stages)
        require(trained, f"no stage has an epoch if the recipe has {epochs}")
        require(all(stage.epochs >= 0 for stage in stages), "a stage has fewer than 0 epochs")


def trains(subject: Subject) -> None:
    """The method trains through all its stages, its parameters change, and the runner can use all that it returns."""
    _trains(subject, make_problem(), "on an ordinary problem")


def trains_on_any_number_of_classes(subject: Subject) -> None:
    """Two classes and a hundred work, with fewer and with more classes than features."""
    for number in (2, 100):
        _trains(subject, make_problem(number, per_group=6 if number == 2 else 1), f"with {number} classes")


def trains_on_images_of_any_shape(subject: Subject) -> None:
    """Grey images work, and images that are no squares."""
    _trains(subject, make_problem(image_shape=(1, 3, 5)), "with images of 1 x 3 x 5")


def trains_with_any_number_of_attribute_values(subject: Subject) -> None:
    """The attribute may have as many values as there are classes, or more."""
    for number in (10, 13):
        _trains(subject, make_problem(num_bias=number, per_group=1), f"with {number} attribute values and 10 classes")


def trains_with_absent_groups(subject: Subject) -> None:
    """Groups (target, attribute) without training images work, and so does a value that never occurs in training."""
    _trains(subject, make_problem(num_bias=4, per_group=4, absent=absent_groups), "with absent groups")


def trains_on_inferred_groups(subject: Subject) -> None:
    """A method that trains on groups takes inferred ones: a single one, and more than classes of which most are empty.

    On the attribute, given as if it had been inferred, it trains as on the attribute itself, bit for bit.
    """
    used = supervision(subject)
    if not (subject.factory.consumes_groups and used.train == "bias"):
        raise Skipped("it trains on no inferred groups")
    problem = make_problem()
    bias, of_val = (torch.as_tensor(problem.splits[name].bias) for name in ("train", "val"))
    as_groups = train(subject, problem, groups=Groups(bias, 2, of_val))
    different = exactness.differences(trained(subject), as_groups, problem)
    require(not different, f"given the attribute as groups, it differs in {different}")
    target = torch.tensor(problem.splits["train"].target)
    with saying("with one group"):
        train(subject, problem, groups=Groups(torch.zeros_like(bias), 1, torch.zeros_like(of_val)))
    with saying("with 13 groups, one of a class"):
        train(subject, problem, groups=Groups(12 - target % 3, 13, torch.zeros_like(of_val)))


def trains_with_the_attribute_unknown(subject: Subject) -> None:
    """Without the attribute, on all images or in training, a method that does not declare it trains as ever.

    One that declares it may refuse with a ConfigurationError.
    """
    problem, used = make_problem(), supervision(subject)
    in_training, everywhere = without_bias(problem, "train"), without_bias(problem)
    _trains(subject, in_training, "with the attribute unknown in training", may_refuse=used.train == "bias")
    _trains(subject, everywhere, "with the attribute unknown", may_refuse="bias" in (used.train, used.val))


def trains_without_a_hierarchy(subject: Subject) -> None:
    """Without a class hierarchy a method that does not declare it trains; one that does may refuse."""
    problem = replace(make_problem(), hierarchy=None)
    _trains(subject, problem, "without a hierarchy", may_refuse=supervision(subject).hierarchy)


def trains_without_validation_images(subject: Subject) -> None:
    """Without a validation split the method finishes, or refuses with a ConfigurationError."""
    _trains(subject, without_val(make_problem()), "without validation images", may_refuse=True)


def trains_with_any_choice_of_parameters(subject: Subject) -> None:
    """Every named choice and every switch among the parameters works."""
    for variant in variants(subject):
        _trains(variant, make_problem(), f"as {variant.spec}")


def trains_on_a_batch_of_one_class(subject: Subject) -> None:
    """A batch may hold images of one class only."""
    problem = make_problem()
    target = torch.tensor(problem.splits["train"].target)
    of_one_class = [(target == label).nonzero()[:, 0] for label in (0, 9)]
    train(subject, problem, order=lambda *given: of_one_class)


def trains_on_a_batch_of_one_image(subject: Subject) -> None:
    """A batch may hold a single image, as the only one of an epoch does."""
    train(subject, make_problem(), order=lambda *given: [torch.tensor([5])])


def trains_in_bfloat16(subject: Subject) -> None:
    """Under autocast, as on a GPU, losses are finite and the state keeps its types."""
    problem = make_problem()
    before = {name: value.dtype for name, value in build(subject, problem).state_dict().items()}
    method = train(subject, problem, recipe=RECIPE.model_copy(update={"precision": "bfloat16"}))
    changed = [name for name, value in method.state_dict().items() if value.dtype != before.get(name)]
    require(not changed, f"changed their type: {', '.join(changed)}")


def _trains(subject: Subject, problem: Store, where: str, may_refuse: bool = False) -> None:
    """Train on a problem, see that something was learned, and say of a failure where it was."""
    with saying(where):
        try:
            before = build(subject, problem).state_dict()
            after = dict(train(subject, problem).named_parameters())
        except ConfigurationError as error:
            require(may_refuse, f"it refuses: {error}")
            return
        changed = any(name in before and not torch.equal(before[name], value) for name, value in after.items())
        require(changed, "every parameter is as it was before the training")


CHECKS: Sequence[Property] = (
    *CHECKS_OF_CARDS,
    *CHECKS_OF_PARAMETERS,
    published_settings_are_valid,
    search_space_is_valid,
    supervision_is_within_the_declared,
    trains,
    *map(
        builds_on(trains),
        (
            stages_are_sound,
            card_says_what_it_builds_on,
            trains_on_any_number_of_classes,
            trains_on_images_of_any_shape,
            trains_with_any_number_of_attribute_values,
            trains_with_absent_groups,
            trains_on_inferred_groups,
            trains_with_the_attribute_unknown,
            trains_without_a_hierarchy,
            trains_without_validation_images,
            trains_with_any_choice_of_parameters,
            trains_on_a_batch_of_one_class,
            trains_on_a_batch_of_one_image,
            trains_in_bfloat16,
            exactness.same_seed_same_result,
            exactness.resumes_exactly,
            exactness.state_is_whole,
            exactness.reads_only_declared_labels,
            exactness.order_follows_its_generator,
            exactness.predictions_depend_on_the_image_alone,
            exactness.classifier_explains_the_logits,
            exactness.leaves_its_inputs_alone,
            exactness.leaves_global_state_alone,
            exactness.writes_no_files,
        ),
    ),
)
