"""Networks that number their layers themselves: a stand-in in the manner of ultralytics, which CI does not have."""

import json

import pytest
import torch
from torch import nn

from frostline.errors import NetworkError
from frostline.freezing import make_plan
from frostline.selection import outline, parse, resolve
from networks import Residual


class Join(nn.Module):
    """Join several inputs, without a parameter."""

    def forward(self, inputs):
        return torch.cat(inputs, 1)


class Numbered(nn.Module):
    """Each layer says its number `i`, where its inputs come from `f`, and its `type`."""

    def __init__(self):
        super().__init__()
        made = [
            (-1, nn.Conv2d(3, 4, 3, stride=2, padding=1)),
            (-1, nn.Conv2d(4, 4, 3, stride=2, padding=1)),
            (-1, Residual(4, 4)),
            (-1, nn.Conv2d(4, 4, 3, stride=2, padding=1)),
            (-1, Residual(4, 4)),
            (-1, nn.Upsample(scale_factor=2)),
            ([-1, 2], Join()),
            (-1, nn.Conv2d(8, 4, 1)),
            ([4, 7], Detect()),
        ]
        self.model = nn.Sequential(*(layer for _, layer in made))
        for number, (source, layer) in enumerate(made):
            layer.i, layer.f, layer.type = number, source, type(layer).__name__

    def forward(self, x):
        seen = []
        for layer in self.model:
            inputs = [seen[f] for f in layer.f] if isinstance(layer.f, list) else x
            x = layer(inputs)
            seen.append(x)
        return x


class Detect(nn.Module):
    """One convolution for each of two resolutions."""

    def __init__(self):
        super().__init__()
        self.convs = nn.ModuleList([nn.Conv2d(4, 2, 1), nn.Conv2d(4, 2, 1)])

    def forward(self, inputs):
        return [conv(x) for conv, x in zip(self.convs, inputs, strict=True)]


def numbers(names):
    return sorted({int(name.split(".")[1]) for name in names})


def test_its_layers_are_exactly_those_of_its_list():
    seen = outline(Numbered())
    assert [layer.name for layer in seen.layers] == [f"model.{number}" for number in range(9)]
    assert {stage.name: numbers(layer.name for layer in stage.layers) for stage in seen} == {
        "stem": [0],
        "stage1": [1, 2],
        "stage2": [3, 4],
        "neck": [5, 6, 7],
        "head": [8],
    }
    assert "ultralytics" in seen.source


@pytest.mark.parametrize(
    ("words", "held"),
    [
        ({"first": 3}, [0, 1, 2]),
        ({"first": 6}, [0, 1, 2, 3, 4]),
        ({"train_first": 6}, [7, 8]),
        ({"through": "neck"}, [0, 1, 2, 3, 4, 7]),
        ("backbone", [0, 1, 2, 3, 4]),
        ("all", [0, 1, 2, 3, 4, 7]),
        ({"frozen_stages": 1}, [0, 1, 2]),
    ],
    ids=str,
)
def test_layers_without_parameters_count_and_hold_nothing(words, held):
    seen = outline(Numbered())
    assert numbers(resolve(seen, parse(words)).held) == held
    plan = make_plan(seen, parse(words))
    assert numbers(entry.name for entry in plan.parameters if entry.held) == held
    assert json.loads(json.dumps(seen.to_json()))["stages"][3]["layers"][0]["names"] == []


def test_where_no_pass_can_be_made_the_neck_begins_with_the_upsampling():
    seen = outline(Numbered(), example_input=torch.zeros(1))
    assert {stage.name: numbers(layer.name for layer in stage.layers) for stage in seen} == {
        "stem": [0],
        "stage1": [1, 2, 3, 4],
        "neck": [5, 6, 7],
        "head": [8],
    }


def test_a_head_of_several_layers_can_be_named():
    seen = outline(Numbered(), head="model.7")
    assert numbers(seen.stages[-1].parameters) == [7, 8]


def test_what_hangs_beside_the_list_is_in_its_first_or_its_last_layer():
    class More(Numbered):
        def __init__(self):
            super().__init__()
            self.before, self.unused = nn.Conv2d(3, 3, 1), nn.Linear(2, 2)

        def forward(self, x):
            return super().forward(self.before(x))

    seen = outline(More())
    assert seen.stage_by_parameter["before.weight"] == "stem"
    assert seen.stage_by_parameter["unused.weight"] == "head"
    assert len(seen.layers) == 9


def test_a_wrapper_that_predicts_where_others_compute_is_refused_before_it_is_called():
    class Predicts(nn.Module):
        def __init__(self):
            super().__init__()
            self.model = Numbered()

        def __call__(self, source):
            raise AssertionError("it would fuse its layers")

    with pytest.raises(NetworkError, match=r"a wrapper around Numbered\. give the network inside \(`\.model`\)"):
        outline(Predicts())
