"""Items: labels and names come back as what they were, and what would not is refused."""

import enum
import math
import pickle
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch

from frostline.errors import StoreError
from frostline.replaying.refusal import Refusal
from frostline.replaying.store import Store
from frostline.replaying.store.columns import DamagedError
from frostline.replaying.store.values import from_text, to_text

KEY = "feed" * 16
Point = namedtuple("Point", "x y")


class Colour(enum.IntEnum):
    """A number that is more than one."""

    red = 1


def open_items(folder, rows=10, budget_bytes=10**9):
    return Store(folder, budget_bytes=budget_bytes).items(KEY, rows=rows, shard_rows=4, about={})


def same(found, expected):
    assert type(found) is type(expected)
    if isinstance(expected, (list, tuple)):
        assert len(found) == len(expected)
        for mine, other in zip(found, expected, strict=True):
            same(mine, other)
    elif isinstance(expected, dict):
        assert list(found) == list(expected)
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, torch.Tensor):
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
        assert torch.equal(found, expected)
    elif isinstance(expected, float):
        assert math.copysign(1, found) == math.copysign(1, expected) or math.isnan(expected)
        assert found == expected or (math.isnan(found) and math.isnan(expected))
    else:
        assert found == expected


VALUES = {
    "nothing": None,
    "truth": True,
    "a number": -(10**30),
    "a float": 0.1,
    "odd floats": [math.nan, math.inf, -math.inf, -0.0, 5e-324],
    "text": "frost\nat\tnight \u2744 \udcff \0",
    "tuples and lists": ((1, [2, (3,)]), [], ()),
    "a dict of dicts": {"tuple": [1], "b": {"tensor": {}, 2: (None, False)}, ("c", 1): {True: 1.0}, "a": 0},
    "a label": torch.tensor(3),
    "boxes": {"boxes": torch.rand(3, 4), "labels": torch.tensor([1, 2, 3]), "none": torch.empty(0, 4)},
    "a mask": torch.eye(3) > 0,
    "halves": (torch.rand(2).half(), torch.rand(2).bfloat16(), torch.tensor([1j])),
    "turned": torch.arange(6).reshape(2, 3).t(),
}


@pytest.mark.parametrize("value", VALUES.values(), ids=VALUES)
def test_a_value_comes_back_as_it_was(value):
    text = to_text(value, name="sample 0")
    assert "\n" not in text
    assert "\t" not in text
    same(from_text(text), value)


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (
            (1, {"label": [np.longlong(3)]}),
            r"sample 0\[1\]\['label'\]\[0\] is of type numpy.longlong; what can be stored is",
        ),
        (np.zeros(2, dtype=object), "sample 0 is of type numpy.ndarray"),
        ([{1, 2}], r"sample 0\[0\] is of type builtins.set"),
        (b"x", "of type builtins.bytes"),
        (Point(1, 2), "Point"),
        (Colour.red, "Colour"),
        (OrderedDict(a=1), "collections.OrderedDict"),
        ({(1, b"x"): 2}, r"a key,\[1\] is of type builtins.bytes"),
        (torch.nn.Parameter(torch.ones(1)), "torch.nn.parameter.Parameter"),
        (torch.ones(1, requires_grad=True), "a tensor, one with a gradient"),
        (torch.ones(2, 2).to_sparse(), "a tensor, torch.sparse_coo on cpu"),
        (torch.ones(2, device="meta"), "a tensor, torch.strided on meta"),
        (1 << 20_000, "an int of 20,001 bits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_value_that_would_not_come_back_is_refused(value, says):
    with pytest.raises(Refusal, match=says):
        to_text(value, name="sample 0")


def test_a_value_that_holds_itself_is_refused():
    value: list = []
    value.append(value)
    with pytest.raises(Refusal, match="sample 0 is nested too deeply"):
        to_text(value, name="sample 0")


def test_items_are_read_by_sample(tmp_path):
    items = open_items(tmp_path)
    assert items.missing() == [0, 1, 2]
    values = [(number, f"picture {number}", {"box": torch.full((2,), number)}) for number in range(10)]
    for shard in (2, 0, 1):
        items.write(shard, values[shard * 4 : shard * 4 + 4])
    for one in (items, open_items(tmp_path), pickle.loads(pickle.dumps(items))):
        assert one.missing() == []
        for number in (9, 0, 5, 5):
            same(one.read(number), values[number])


def test_a_value_that_is_changed_after_reading_is_read_as_it_was(tmp_path):
    items = open_items(tmp_path)
    items.write(0, [[torch.zeros(2)]] * 4)
    items.read(0)[0] += 1
    items.read(0).append(1)
    same(items.read(0), [torch.zeros(2)])


def test_a_refused_sample_is_named_and_nothing_is_written(tmp_path):
    items = open_items(tmp_path)
    with pytest.raises(Refusal, match=r"sample 6\[1\] is of type builtins.object"):
        items.write(1, [(1, 1), (1, 1), (1, object()), (1, 1)])
    assert items.missing() == [0, 1, 2]


@pytest.mark.parametrize(("shard", "count"), [(0, 3), (2, 4), (3, 4), (-1, 4)])
def test_values_that_do_not_belong_there_are_refused(tmp_path, shard, count):
    with pytest.raises(ValueError, match=f"shard {shard} of 3, with {count} values"):
        open_items(tmp_path).write(shard, [0] * count)


@pytest.mark.parametrize("index", [-1, 10])
def test_a_sample_that_is_not_there_is_an_error(tmp_path, index):
    with pytest.raises(IndexError, match="of 10 that are kept"):
        open_items(tmp_path).read(index)


@pytest.mark.parametrize("seen", [True, False], ids=["damaged while open", "damaged before"])
def test_a_damaged_line_is_found_and_recorded_again(tmp_path, seen):
    items = open_items(tmp_path)
    for shard in range(3):
        items.write(shard, ["frost"] * (2 if shard == 2 else 4))
    items.missing()
    journal = tmp_path / KEY / "journal"
    content = bytearray(journal.read_bytes())
    content[content.index(b"\n1 ") + 15] ^= 4
    journal.write_bytes(content)
    if not seen:
        items.close()
        items = open_items(tmp_path)
    with pytest.raises(DamagedError) as caught:
        items.read(4)
    assert caught.value.shards == (1,)
    assert items.missing() == open_items(tmp_path).missing() == [1]
    items.write(1, ["frost"] * 4)
    assert [items.read(number) for number in range(10)] == ["frost"] * 10


def test_items_are_no_column(tmp_path):
    items = open_items(tmp_path)
    items.close()
    with pytest.raises(StoreError, match="it holds items for 10 samples, and column of"):
        Store(tmp_path).column(KEY, dtype=torch.bool, shape=(), rows=10, shard_rows=4, about={})


def test_items_larger_than_they_were_taken_for_grow_as_far_as_the_budget(tmp_path):
    items = open_items(tmp_path, rows=400, budget_bytes=400_000)
    written = 0

    def fill():
        nonlocal written
        for shard in range(100):
            items.write(shard, ["x" * 2000] * 4)
            written += 1

    with pytest.raises(StoreError, match="no room for"):
        fill()
    assert 20 < written < 50
    assert items.missing() == list(range(written, 100))
    taken = sum(path.lstat().st_blocks * 512 for path in [tmp_path, *tmp_path.rglob("*")])
    assert 200_000 < taken <= 400_000
    assert items.read(0) == "x" * 2000
