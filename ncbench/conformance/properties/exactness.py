"""Checks of methods: the same again wherever it must be the same, and nothing touched but the method itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from ncbench.conformance.problem import images_of, make_hierarchy, make_problem
from ncbench.conformance.properties.common import require_same_in_any_batch
from ncbench.conformance.subject import Skipped, Subject, builds_on, require, saying
from ncbench.conformance.surroundings import no_files_left, require_unseeded
from ncbench.conformance.training import build, logits, supervision, train, trained
from ncbench.contracts.cards import Supervision
from ncbench.contracts.method import Method
from ncbench.contracts.task import Batch, SplitView, Task
from ncbench.data.store.open import Store
from ncbench.training import loop
from ncbench.training.seeding import seed_global_generators


def same_seed_same_result(subject: Subject) -> None:
    """Two runs with the same seed end in the same state, bit for bit."""
    problem = make_problem()
    different = differences(trained(subject), train(subject, problem), problem)
    require(not different, f"two runs with the same seed differ in {different}: draw from the generators you are given")


@builds_on(same_seed_same_result)
def resumes_exactly(subject: Subject) -> None:
    """A run that is cut off after any epoch and resumed from its checkpoint ends as if it had not been."""
    problem = make_problem()
    with saying("resumed after every epoch"):
        different = differences(trained(subject), train(subject, problem, cut_off=True), problem)
        require(not different, f"it differs in {different}: what training changes belongs in state_dict")


def state_is_whole(subject: Subject) -> None:
    """``state_dict`` holds tensors alone, and a new object that loads it predicts the same."""
    problem, method = make_problem(), trained(subject)
    state = method.state_dict()
    odd = [name for name, value in state.items() if not isinstance(value, Tensor)]
    require(not odd, f"no tensors: {', '.join(odd)}")
    loaded = build(subject, problem)
    loaded.load_state_dict(state)
    same = torch.equal(logits(method, images_of(problem)), logits(loaded, images_of(problem)))
    require(same, "a new object with the trained one's state_dict predicts otherwise: what it needs belongs in there")


@builds_on(same_seed_same_result)
def reads_only_declared_labels(subject: Subject) -> None:
    """What is learned does not depend on labels that are not declared, wherever they may be found."""
    used, problem = supervision(subject), make_problem()
    if used == Supervision("bias", "bias", hierarchy=True):
        raise Skipped("it declares all the labels there are")
    splits = {
        name: replace(split, bias=np.roll(split.bias, 1)) if getattr(used, name) == "none" else split
        for name, split in problem.splits.items()
        if split.bias is not None
    }
    hierarchy = problem.hierarchy if used.hierarchy else make_hierarchy(len(problem.class_names), branches=3)
    other = replace(problem, splits=splits, hierarchy=hierarchy)
    different = differences(_train_exposed(subject, problem), _train_exposed(subject, other), problem)
    require(not different, f"labels that it does not declare change {different}")


def order_follows_its_generator(subject: Subject) -> None:
    """The order of an epoch follows from the generator it is given alone."""

    def made_twice(order: Callable[..., Any], train: SplitView, generator: torch.Generator) -> Any:
        state, orders = generator.get_state(), []
        for attempt in (1, 2):
            seed_global_generators(attempt)
            generator.set_state(state)
            orders.append(order(train, generator))
        first, second = ([order] if isinstance(order, Tensor) else list(order) for order in orders)
        same = len(first) == len(second) and all(map(torch.equal, first, second))
        require(same, "the order draws from another generator as well, or keeps something from one call to the next")
        return orders[0]

    train(subject, make_problem(), order=made_twice)


def predictions_depend_on_the_image_alone(subject: Subject) -> None:
    """An image gets the same logits again, in any batch, at any place in it."""
    problem, method = make_problem(), trained(subject)
    require_same_in_any_batch(lambda images: logits(method, images), images_of(problem), "logits", rtol=1e-4)


def classifier_explains_the_logits(subject: Subject) -> None:
    """``forward`` is ``classify(features)``, and the classifier's parameters, where it has them, give its logits."""
    problem, method = make_problem(), trained(subject)
    with torch.no_grad():
        result = method(images_of(problem))
        features = method.features(images_of(problem))
        require(_close(result, method.classify(features)), "forward() is not classify(features())")
        parameters = method.classifier_parameters()
        if parameters is not None:
            weight, bias = parameters
            require(
                weight.shape == (len(problem.class_names), features.shape[1]),
                f"the classifier's weight is {tuple(weight.shape)}, not (K, d) of features()",
            )
            explained = features.to(weight.dtype) @ weight.T + (0 if bias is None else bias)
            require(_close(result, explained), "features() and classifier_parameters() do not give the logits")


def leaves_its_inputs_alone(subject: Subject) -> None:
    """Images, labels and positions that it is given stay as they are."""
    given: list[tuple[str, dict[str, Any], dict[str, Any]]] = []

    def watched(view: SplitView) -> SplitView:
        given.append((f"the {view.name} split", vars(view), _copied(view)))
        return _Watched(**vars(view), given=given)

    problem = make_problem()
    method = train(subject, problem, shown=watched)
    images = images_of(problem)
    method(images)
    require(torch.equal(images, images_of(problem)), "images to classify changed in place")
    for whose, now, before in given:
        changed = [name.lstrip("_") for name, value in before.items() if not torch.equal(value, now[name])]
        require(not changed, f"{' and '.join(changed)} of {whose} changed in place")


@dataclass(frozen=True, eq=False, kw_only=True)
class _Watched(SplitView):
    """A split that remembers every batch made of it, and what was in it."""

    given: list[tuple[str, dict[str, Any], dict[str, Any]]]

    def batch(self, images: Tensor, index: Tensor, views: Tensor | None = None) -> Batch:
        """Return images of the split with their labels."""
        made = super().batch(images, index, views)
        self.given.append((f"a {self.name} batch", vars(made), _copied(made)))
        return made


def _copied(holder: object) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in vars(holder).items() if isinstance(value, Tensor)}


def leaves_global_state_alone(subject: Subject) -> None:
    """It does not seed a global generator or change a setting of torch.

    Drawing from the global generators is fine, since the runner seeds them before every epoch. Where they end must then
    depend on where they began, and on nothing else.
    """

    def run(seed: int) -> None:
        seed_global_generators(seed)
        with patch.object(loop, "seed_global_generators"):  # the runner's seeds would hide the method's
            train(subject, make_problem())

    require_unseeded(run)


def writes_no_files(subject: Subject) -> None:
    """It leaves nothing in the working, the home or the temporary folder."""
    with no_files_left():
        train(subject, make_problem())


def _train_exposed(subject: Subject, problem: Store) -> Method:
    """Train with all labels there are where only a method that looks behind the contract finds them."""

    def view(withheld: SplitView) -> SplitView:
        bias = problem.splits[withheld.name].bias
        return replace(withheld, _bias=None if bias is None else torch.tensor(bias))

    def task(withheld: Task) -> Task:
        return replace(withheld, _hierarchy=problem.hierarchy)

    return train(subject, problem, task=task, shown=view)


def differences(first: Method, second: Method, problem: Store) -> str:
    """Return the names of what differs between two trained methods, or an empty string."""
    one, other = first.state_dict(), second.state_dict()
    different = [
        name
        for name in one.keys() | other.keys()
        if name not in one or name not in other or not torch.equal(one[name], other[name])
    ]
    if not different and not torch.equal(logits(first, images_of(problem)), logits(second, images_of(problem))):
        return "the predictions, though the states are equal"
    return ", ".join(sorted(different)[:5])


def _close(first: Tensor, second: Tensor) -> bool:
    return torch.allclose(first.double(), second.double(), rtol=1e-4, atol=1e-4)
