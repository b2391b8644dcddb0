"""A tied tensor as one part of a network: every name of it lies where the first does, and none is lost."""

import pytest
import torch
from torch import nn

from frostline.errors import SelectorError
from frostline.selection import Outline, outline, parse, resolve, tied_at_first


class Words(nn.Module):
    """Ends with the table that it begins with, in a layer of its own and beside one with a bias."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 4)
        self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4)) for _ in range(2))
        self.turn = nn.Linear(4, 4)
        self.bare = nn.Linear(4, 9, bias=False)
        self.out = nn.Linear(4, 9)
        self.bare.weight = self.out.weight = self.table.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        x = self.table(ids)
        for block in self.blocks:
            x = block(x)
        x = self.turn(x)
        return self.out(x) + self.bare(x)


def read() -> Outline:
    return outline(Words(), example_input=torch.zeros(1, 3, dtype=torch.long), head=["turn", "bare", "out"])


def test_every_name_stands_once_and_with_the_first() -> None:
    before, after = read(), tied_at_first(read())
    assert sorted(after.stage_by_parameter) == sorted(before.stage_by_parameter)
    assert sum(len(stage.parameters) for stage in after) == len(after.stage_by_parameter)
    assert {after.stage_by_parameter[f"{name}.weight"] for name in ("table", "bare", "out")} == {"stem"}
    assert after.stage_by_parameter["out.bias"] == "head"
    assert [layer.name for layer in after.stages[-1].layers] == ["turn", "out"]
    assert after.numel == before.numel == sum(map(after.numel_of, after.stages))


def test_the_head_is_what_stands_beside_the_table() -> None:
    with pytest.raises(SelectorError, match="are one tensor"):
        resolve(read(), parse("all"))
    held = resolve(tied_at_first(read()), parse("all")).held
    assert "table.weight" in held
    assert not {name for name in held if name.startswith(("turn", "out"))}
    assert "table.weight" not in resolve(tied_at_first(read()), parse({"train": ["stem", "head"]})).held


def test_a_network_without_ties_is_as_it_was() -> None:
    plain = outline(nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2)))
    assert tied_at_first(plain) == plain
