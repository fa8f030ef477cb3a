"""Checks of methods, on problems of a few dozen images of a few pixels."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ncbench.conformance.common import (
    CHECKS_OF_CARDS,
    CHECKS_OF_PARAMETERS,
    choices,
    require_backbone,
    require_unseeded,
)
from ncbench.conformance.problem import Problem, make_hierarchy, make_problem
from ncbench.conformance.subject import ConformanceError, Skipped, Subject, require
from ncbench.conformance.surroundings import watched_folders
from ncbench.conformance.training import (
    WatchedSplitView,
    backward,
    batch_of,
    begun_stages,
    build,
    logits,
    supervision,
    train,
    unseeded,
    views,
)
from ncbench.contracts.cards import Supervision
from ncbench.contracts.errors import ConfigurationError, described
from ncbench.contracts.method import Method, Published, Stage
from ncbench.contracts.specs import Spec
from ncbench.contracts.task import Batch, SplitView, seeded_generator
from ncbench.training.loop import sound_order
from ncbench.training.recipe import Recipe
from ncbench.training.seeding import seed_global_generators

# What it declares


def published_settings_are_valid(subject: Subject) -> None:
    """Published settings name their source, and are valid parameters, recipe values and backbones."""
    for dataset, published in subject.factory.published.items():
        require(isinstance(published, Published), f"the settings for {dataset!r} are no ncbench.Published")
        require(bool(published.source.strip()), f"the settings for {dataset!r} name no source")
        try:
            subject.factory.Parameters.build(published.parameters, owner=subject.spec.name)
            Recipe.build(published.recipe, owner="the recipe")
            if published.backbone is not None:
                require_backbone(published.backbone)
        except ConfigurationError as error:
            raise ConformanceError(f"the settings for {dataset!r}: {error}") from error


def supervision_is_within_the_declared(subject: Subject) -> None:
    """Whatever its parameters are, the method uses no more labels than its card declares."""
    declared = subject.card.supervision
    for values in ({}, dict(subject.spec.parameters), *choices(subject.factory.Parameters, {}, subject.spec.name)):
        params = subject.factory.Parameters.build(values, owner=subject.spec.name)
        used = subject.factory.supervision(params, declared)
        named = f"with {values}" if values else "by default"
        require(isinstance(used, Supervision), f"supervision() returns a {type(used).__name__} {named}")
        require(declared.covers(used), f"it uses {used} {named}, more than the {declared} on its card")


def stages_are_sound(subject: Subject) -> None:
    """Stages have names of their own, and at least one has epochs, even where the recipe has just one."""
    method = build(subject, make_problem())
    for epochs in (1, 2, 10):
        stages = method.stages(epochs)
        require(all(isinstance(stage, Stage) for stage in stages), "stages() must return ncbench.Stage objects")
        names = [stage.name for stage in stages]
        require(len(set(names)) == len(names), f"stages share a name: {', '.join(names)}")
        require(any(stage.epochs > 0 for stage in stages), f"no stage has an epoch if the recipe has {epochs}")
        require(all(stage.epochs >= 0 for stage in stages), "a stage has fewer than 0 epochs")


# Training on data of every shape


def trains(subject: Subject) -> None:
    """The method trains through all its stages, and its parameters change."""
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

    def absent(target: Tensor, bias: Tensor) -> Tensor:
        """Leave each class one value, but class 0 three; no class the last value."""
        return ((bias != target % 2) & (target > 0)) | (bias == 3)

    _trains(subject, make_problem(num_bias=4, per_group=4, absent=absent), "with absent groups")


def trains_with_the_attribute_unknown(subject: Subject) -> None:
    """Without the attribute, on all images or in training, a method that does not declare it trains as ever.

    One that declares it may refuse with a ConfigurationError.
    """
    problem, used = make_problem(), supervision(subject)
    in_training = dataclasses.replace(problem, train=problem.train.without_bias())
    _trains(subject, in_training, "with the attribute unknown in training", may_refuse=used.train == "bias")
    everywhere = problem.without_bias()
    _trains(subject, everywhere, "with the attribute unknown", may_refuse="bias" in (used.train, used.val))


def trains_without_a_hierarchy(subject: Subject) -> None:
    """Without a class hierarchy a method that does not declare it trains; one that does may refuse."""
    problem = dataclasses.replace(make_problem(), hierarchy=None)
    _trains(subject, problem, "without a hierarchy", may_refuse=supervision(subject).hierarchy)


def trains_without_validation_images(subject: Subject) -> None:
    """Without a validation split the method finishes, or refuses with a ConfigurationError."""
    _trains(subject, dataclasses.replace(make_problem(), val=None), "without validation images", may_refuse=True)


def trains_with_any_choice_of_parameters(subject: Subject) -> None:
    """Every named choice and every switch among the parameters works."""
    given = dict(subject.spec.parameters)
    changes = list(choices(subject.factory.Parameters, given, subject.spec.name))
    if not changes:
        raise Skipped("no parameter is a choice or a switch")
    for values in changes:
        variant = dataclasses.replace(subject, spec=Spec(subject.spec.name, values))
        _trains(variant, make_problem(), f"as {variant.spec}")


def trains_on_a_batch_of_one_class(subject: Subject) -> None:
    """A batch may hold images of one class only."""
    problem = make_problem()
    for label in (0, 9):
        _begins(subject, problem, (problem.train.target == label).nonzero()[:, 0])


def trains_on_a_batch_of_one_image(subject: Subject) -> None:
    """A batch may hold a single image, as the only one of an epoch does."""
    _begins(subject, make_problem(), torch.tensor([5]))


def trains_in_bfloat16(subject: Subject) -> None:
    """Under autocast, as on a GPU, losses are finite and the state keeps its types."""
    problem = make_problem()
    method = build(subject, problem)
    before = {name: value.dtype for name, value in _tensors(method).items()}
    _begins(subject, problem, torch.arange(8), method, autocast=True)
    changed = [name for name, value in _tensors(method).items() if value.dtype != before.get(name)]
    require(not changed, f"changed their type: {', '.join(changed)}")


# Exactness


def same_seed_same_result(subject: Subject) -> None:
    """Two runs with the same seed end in the same state, bit for bit."""
    problem = make_problem()
    different = _differences(train(subject, problem), train(subject, problem), problem)
    require(not different, f"two runs with the same seed differ in {different}: draw from the generators you are given")


def resumes_exactly(subject: Subject) -> None:
    """A run that is cut off after any epoch and resumed from its checkpoint ends as if it had not been."""
    problem = make_problem()
    _require_reproducible(subject, problem)
    whole = train(subject, problem)
    try:
        resumed = train(subject, problem, cut_off=True)
    except ConformanceError:
        raise
    except Exception as error:
        raise ConformanceError(f"resumed after every epoch it raises {described(error)}") from error
    different = _differences(whole, resumed, problem)
    require(
        not different,
        f"resumed after every epoch it differs in {different}: what training changes belongs in state_dict",
    )


def state_is_whole(subject: Subject) -> None:
    """``state_dict`` holds tensors alone, and a new object that loads it predicts the same."""
    problem = make_problem()
    trained = train(subject, problem)
    state = trained.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    require(not odd, f"no tensors: {', '.join(odd)}")
    loaded = build(subject, problem)
    loaded.load_state_dict(state)
    same = torch.equal(logits(trained, problem.train.images), logits(loaded, problem.train.images))
    require(same, "a new object with the trained one's state_dict predicts otherwise: what it needs belongs in there")


def reads_only_declared_labels(subject: Subject) -> None:
    """What is learned does not depend on labels that are not declared, wherever they may be found."""
    used = supervision(subject)
    if used == Supervision("bias", "bias", hierarchy=True):
        raise Skipped("it declares all the labels there are")
    problem = make_problem()
    _require_reproducible(subject, problem)
    changes: dict[str, Any] = {
        name: examples.with_other_bias() for name, examples in problem.splits.items() if getattr(used, name) == "none"
    }
    if not used.hierarchy:
        changes["hierarchy"] = make_hierarchy(problem.num_classes, branches=3)
    other = dataclasses.replace(problem, **changes)
    different = _differences(train(subject, problem, exposed=True), train(subject, other, exposed=True), problem)
    require(not different, f"labels that it does not declare change {different}")


def order_follows_its_generator(subject: Subject) -> None:
    """The order of an epoch is made of valid positions and follows from the generator it is given alone."""
    problem = make_problem()
    method = build(subject, problem)
    seen = views(problem, method.task)
    for stage in begun_stages(method, seen):
        orders = []
        for attempt in (1, 2):
            seed_global_generators(attempt)
            orders.append(_order(method, seen["train"]))
        require(
            len(orders[0]) == len(orders[1]) and all(map(torch.equal, *orders)),
            f"in the stage {stage.name!r} the order draws from another generator as well",
        )


def predictions_depend_on_the_image_alone(subject: Subject) -> None:
    """An image gets the same logits again, in any batch, at any place in it."""
    problem = make_problem()
    method = train(subject, problem)
    images = problem.train.images
    whole = logits(method, images)
    order = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))
    ways = {
        "a second time": logits(method, images),
        "one at a time": torch.cat([logits(method, image[None]) for image in images]),
        "in another order": logits(method, images[order])[order.argsort()],
    }
    for way, again in ways.items():
        require(_close(whole, again), f"images classified {way} get other logits")


def classifier_explains_the_logits(subject: Subject) -> None:
    """``forward`` is ``classify(features)``, and the classifier's parameters, where it has them, give its logits."""
    problem = make_problem()
    method = train(subject, problem)
    with torch.no_grad():
        result = method(problem.train.images.clone())
        features = method.features(problem.train.images.clone())
        require(_close(result, method.classify(features)), "forward() is not classify(features())")
        parameters = method.classifier_parameters()
        if parameters is not None:
            weight, bias = parameters
            require(
                weight.shape == (problem.num_classes, features.shape[1]),
                f"the classifier's weight is {tuple(weight.shape)}, not (K, d) of features()",
            )
            explained = features.to(weight.dtype) @ weight.T + (0 if bias is None else bias)
            require(_close(result, explained), "features() and classifier_parameters() do not give the logits")


# Surroundings


def leaves_its_inputs_alone(subject: Subject) -> None:
    """Images, labels and positions that it is given stay as they are."""
    problem = make_problem()
    method = build(subject, problem)

    def unchanged(batch: Batch, split: str) -> None:
        given = problem.splits[split]
        for name, whole in (("images", given.images), ("target", given.target)):
            require(torch.equal(getattr(batch, name), whole[batch.index]), f"a batch's {name} changed in place")
        if batch._bias is not None and given.bias is not None:
            require(torch.equal(batch._bias, given.bias[batch.index]), "a batch's bias changed in place")

    seen = {name: WatchedSplitView.of_view(view, unchanged) for name, view in views(problem, method.task).items()}
    for stage in begun_stages(method, seen):
        index = torch.arange(3, 11)
        batch = batch_of(seen["train"], index)
        backward(method, batch, stage)
        require(torch.equal(batch.index, index), "a batch's index changed in place")
        unchanged(batch, "train")
        images = problem.train.images.clone()
        method.eval()(images)
        require(torch.equal(images, problem.train.images), "images to classify changed in place")
    method.finish(seen["train"], seen["val"])
    for name, view in seen.items():
        for labels, now in (("target", view.target), ("bias", view._bias)):
            given = getattr(problem.splits[name], labels)
            require(now is None or torch.equal(now, given), f"the {labels} labels of the {name} split changed in place")


def leaves_global_state_alone(subject: Subject) -> None:
    """It does not seed a global generator or change a setting of torch.

    Drawing from the global generators is fine, since the runner seeds them before every epoch. Where they end must then
    depend on where they began, and on nothing else.
    """
    require_unseeded(lambda seed: _walk_through(subject, seed))


def writes_no_files(subject: Subject) -> None:
    """It leaves nothing in the working, the home or the temporary folder."""
    with watched_folders() as left:
        train(subject, make_problem())
    require(not left, f"it left {', '.join(left[:20])}")


CHECKS: Sequence[Callable[[Subject], None]] = (
    *CHECKS_OF_CARDS,
    *CHECKS_OF_PARAMETERS,
    published_settings_are_valid,
    supervision_is_within_the_declared,
    stages_are_sound,
    trains,
    trains_on_any_number_of_classes,
    trains_on_images_of_any_shape,
    trains_with_any_number_of_attribute_values,
    trains_with_absent_groups,
    trains_with_the_attribute_unknown,
    trains_without_a_hierarchy,
    trains_without_validation_images,
    trains_with_any_choice_of_parameters,
    trains_on_a_batch_of_one_class,
    trains_on_a_batch_of_one_image,
    trains_in_bfloat16,
    same_seed_same_result,
    resumes_exactly,
    state_is_whole,
    reads_only_declared_labels,
    order_follows_its_generator,
    predictions_depend_on_the_image_alone,
    classifier_explains_the_logits,
    leaves_its_inputs_alone,
    leaves_global_state_alone,
    writes_no_files,
)


def _trains(subject: Subject, problem: Problem, where: str, may_refuse: bool = False) -> None:
    """Train on a problem, see that something was learned, and say of a failure where it was."""
    try:
        before = build(subject, problem).state_dict()
        after = dict(train(subject, problem).named_parameters())
        changed = any(name in before and not torch.equal(before[name], value) for name, value in after.items())
        require(changed, "every parameter is as it was before the training")
    except ConfigurationError as error:
        require(may_refuse, f"{where} it refuses: {error}")
    except ConformanceError as error:
        raise ConformanceError(f"{where}: {error}") from error
    except Exception as error:
        raise ConformanceError(f"{where} it raises {described(error)}") from error


def _begins(
    subject: Subject, problem: Problem, index: Tensor, method: Method | None = None, autocast: bool = False
) -> None:
    """Take one batch in each stage."""
    method = build(subject, problem) if method is None else method
    seen = views(problem, method.task)
    for stage in begun_stages(method, seen):
        backward(method, batch_of(seen["train"], index), stage, autocast)


def _require_reproducible(subject: Subject, problem: Problem) -> None:
    if _differences(train(subject, problem), train(subject, problem), problem):
        raise Skipped("two runs with the same seed differ; see same_seed_same_result")


def _differences(first: Method, second: Method, problem: Problem) -> str:
    """Return the names of what differs between two trained methods, or an empty string."""
    one, other = _tensors(first), _tensors(second)
    different = [
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or not torch.equal(one[name], other[name])
    ]
    if not different and not torch.equal(logits(first, problem.train.images), logits(second, problem.train.images)):
        return "the predictions, though the states are equal"
    return ", ".join(sorted(different)[:5])


def _walk_through(subject: Subject, global_seed: int) -> None:
    """Call every part of the contract once, the global generators seeded at the start alone."""
    problem = make_problem()
    seed_global_generators(global_seed)
    method = unseeded(subject, problem)
    seen = views(problem, method.task)
    for stage in begun_stages(method, seen):
        backward(method, batch_of(seen["train"], _order(method, seen["train"])[0][:8]), stage)
        logits(method, problem.train.images)
    method.finish(seen["train"], seen["val"])


def _order(method: Method, train: SplitView) -> list[Tensor]:
    """Return the batches of an epoch's order; the whole of it as one where they are not made yet."""
    order = sound_order(method, train, seeded_generator(0, "order"))
    return [order] if isinstance(order, Tensor) else order


def _tensors(method: Method) -> dict[str, Tensor]:
    """Return the tensors of a method's state by name."""
    return {name: value for name, value in method.state_dict().items() if isinstance(value, Tensor)}


def _close(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first.double(), second.double(), rtol=1e-4, atol=1e-4)
