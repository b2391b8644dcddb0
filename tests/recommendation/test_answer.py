"""Advice for tiny recipes: from one pass, written as a recipe that trains, and checked by trying all techniques."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from frostline.errors import NetworkError, UserError
from frostline.recipe import Recipe, assemble, dump_recipe, load_recipe, varied
from frostline.recommendation import (
    advise,
    check,
    judge,
    recommend,
    record_features,
    relative_gradients,
    sizes,
    some_of,
)
from frostline.recommendation.cost import PhasePlan, predicted_seconds
from frostline.recommendation.features import Recorded, StageFeatures, pooled
from frostline.recommendation.gradients import Gradients
from frostline.selection import call
from training.tiny import tiny_recipe

pytestmark = pytest.mark.recipe
CPU = torch.device("cpu")
DATA = {"train": "photos", "val": 0.25, "test": 0.25, "size": 16}


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    return tiny_recipe(tmp_path, data=DATA, replay={"dir": str(tmp_path / "store")})


def test_features_are_what_the_stages_give(recipe: Recipe) -> None:
    assembly = assemble(recipe)
    recorded = record_features(assembly, assembly.data.train, device=CPU)
    assert [one.stage for one in recorded.stages] == ["stem", "stage1"]
    images = torch.cat([inputs for inputs, *_ in assembly.task.loader(assembly.data.train)])
    net = assembly.model.eval()
    with torch.no_grad():
        first = net.bn1(net.conv1(images))
        last = net.bn2(net.conv2(F.relu(first)))
    for one, wanted in zip(recorded.stages, (first, last), strict=True):
        assert torch.allclose(torch.from_numpy(one.features_ND), wanted.mean((2, 3)), atol=1e-6)
        assert one.seconds > 0
    assert recorded.labels_N.tolist() == list(assembly.data.train.labels)
    assert all(not module._forward_hooks for module in net.modules())


def test_words_that_are_padding_do_not_count() -> None:
    tensor = torch.arange(12.0).reshape(2, 3, 2)
    mask_NL = torch.tensor([[1, 1, 0], [1, 0, 0]])
    assert pooled(tensor, mask_NL=mask_NL).tolist() == [[1.0, 2.0], [6.0, 7.0]]


def test_gradients_are_those_of_the_loss(recipe: Recipe) -> None:
    assembly = assemble(recipe)
    held = [parameter.requires_grad for parameter in assembly.model.parameters()]
    found = relative_gradients(assembly, assembly.data.train, device=CPU)
    batches = list(assembly.task.loader(assembly.data.train))
    inputs, labels = (torch.cat([batch[at] for batch in batches]) for at in (0, 1))
    net = assembly.model.eval()
    loss = F.cross_entropy(call(net, inputs), labels)
    own = {"stem": [*net.conv1.parameters(), *net.bn1.parameters()]}
    own["stage1"] = [*net.conv2.parameters(), *net.bn2.parameters()]
    relative = {}
    for name, parameters in own.items():
        gradients = torch.autograd.grad(loss, parameters, retain_graph=True)
        lengths = [torch.cat([one.flatten() for one in many]).norm() for many in (gradients, parameters)]
        relative[name] = (lengths[0] / lengths[1]).item()
    largest = max(relative.values())
    assert found.relative == {name: pytest.approx(value / largest, rel=1e-4) for name, value in relative.items()}
    assert found.step_seconds > 0
    assert [parameter.requires_grad for parameter in net.parameters()] == held
    assert all(parameter.grad is None for parameter in net.parameters())


def test_every_class_keeps_its_share(recipe: Recipe) -> None:
    samples = assemble(recipe).data.train
    some = some_of(samples, seed=0, most=6)
    assert np.bincount(some.labels).tolist() == [2, 2, 2]
    assert some_of(samples, seed=0) is samples


def test_the_recipe_that_is_written_says_the_same_when_it_is_read(recipe: Recipe, tmp_path: Path) -> None:
    found = recommend(recipe)
    assert found.advice == advise(found.evidence)
    assert (found.evidence.samples, found.evidence.classes, found.evidence.fewest) == (12, 3, 4)
    path = tmp_path / "recommended.yaml"
    path.write_text(dump_recipe(found.chosen.recipe, only_said=True))
    assert load_recipe(path) == found.chosen.recipe
    assert found.chosen.recipe.data == recipe.data
    assert found.chosen.recipe.replay.dir == recipe.replay.dir
    techniques = {one.technique: one.recipe for one in found.options}
    assert set(techniques) == {"few_shot", "lora", "frozen", "gradual", "discriminative", "full"}
    assert techniques["frozen"].replay.views == 4
    assert techniques["lora"].lora is not None
    assert techniques["lora"].lora.rank == 8
    for one in techniques.values():
        assert one.loss.label_smoothing == 0.1
        assert assemble(one).plans


def test_no_phase_trains_what_is_never_trained(recipe: Recipe) -> None:
    """Of four stages the first three are calm: a technique's phases that would train some of them do not."""
    from frostline.recommendation.answer import _changes

    assembly = assemble(varied(load_recipe("digits"), ["technique=gradual"]))
    changes = _changes(assembly.recipe, assembly, sizes().settings("gradual"), through="stage2", on_gpu=False)
    (phases,) = (change for change in changes if change.startswith("phases="))
    assert [phase["freeze"] for phase in json.loads(phases.partition("=")[2])] == [
        "all",
        {"through": "stage2"},
        {"through": "stage2"},
    ]


LEARNED_TOKEN = """
def begin(self):
    self.token = nn.Parameter(torch.zeros(1))

def between(self, x):
    return x + self.token
"""


def test_a_parameter_beside_the_stages_is_no_stage(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, network=LEARNED_TOKEN, data=DATA, replay="off")
    assert [one.stage for one in recommend(recipe).evidence.stages][-1] == "stage1"


def test_features_that_are_no_numbers_are_told(recipe: Recipe) -> None:
    assembly = assemble(recipe)
    with torch.no_grad():
        next(assembly.model.parameters()).fill_(torch.nan)
    with pytest.raises(NetworkError, match="stem gives what is no number"):
        record_features(assembly, assembly.data.train, device=CPU)


def test_what_the_recipe_says_itself_stands(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, data=DATA, augment="none", loss={"label_smoothing": 0.0}, replay="off")
    for one in recommend(recipe).options:
        assert one.recipe.augment.policy == "none"
        assert one.recipe.loss.label_smoothing == 0
        assert one.recipe.replay.use == "off"


def test_checked_it_says_whether_it_was_right(recipe: Recipe, tmp_path: Path) -> None:
    found = recommend(recipe)
    short = [
        (one, tuple(change.replace(f'"epochs": {epochs}', '"epochs": 2') for change in one.changes))
        for one in found.options
        if (epochs := one.recipe.technique.epochs if one.recipe.technique else 0)
    ]
    from dataclasses import replace

    options = tuple(replace(one, changes=changes) for one, changes in short if one.technique in ("frozen", "full"))
    small = replace(found, options=options, chosen=options[0])
    checked = check(small, recipe, out=tmp_path / "check", seeds=2)
    assert [one.arm.name for one in checked.arms.results] == ["frozen", "full"]
    assert checked.chosen == "frozen"
    assert checked.line.startswith("the advice was ")
    again = judge(checked.arms, checked.best)
    assert again.right
    assert again.apart is None


def test_without_anything_to_judge_by_nothing_is_checked(tmp_path: Path) -> None:
    recipe = tiny_recipe(tmp_path, data={**DATA, "val": None, "test": None})
    with pytest.raises(UserError, match="nothing to judge by"):
        check(recommend(recipe), recipe, out=tmp_path / "check")


RECORDED = Recorded(
    stages=tuple(
        StageFeatures(stage=name, features_ND=np.zeros((1, 1)), seconds=seconds)
        for name, seconds in (("stem", 0.003), ("stage1", 0.001))
    ),
    labels_N=np.zeros(1),
    reading_seconds=0.002,
)
# Forward 4 ms, backward 8 ms: twice each stage's own.
GRADIENTS = Gradients(relative={}, step_seconds=0.012)


@pytest.mark.parametrize(
    ("phases", "seconds"),
    [
        ([PhasePlan(epochs=10, held=frozenset(), replayed=False)], 10 * 0.014),
        ([PhasePlan(epochs=10, held=frozenset(["stem"]), replayed=False)], 10 * (0.005 + 0.003)),
        ([PhasePlan(epochs=10, held=frozenset(["stem"]), replayed=True)], 0.005 + 10 * 0.003),
        ([PhasePlan(epochs=10, held=frozenset(["stem"]), replayed=True, views=4)], 4 * 0.005 + 10 * 0.003),
        (
            [
                PhasePlan(epochs=2, held=frozenset(["stem", "stage1"]), replayed=True),
                PhasePlan(epochs=3, held=frozenset(["stem"]), replayed=True),
            ],
            0.006 + 3 * 0.003,
        ),
    ],
    ids=["all trained", "computed", "replayed", "views", "recorded once"],
)
def test_what_it_costs(phases: list[PhasePlan], seconds: float) -> None:
    found = predicted_seconds(phases, samples=100, recorded=RECORDED, gradients=GRADIENTS)
    assert found == pytest.approx(100 * seconds)
