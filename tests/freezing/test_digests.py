"""Digests: equal where every bit, the shape and the type are equal, and nowhere else."""

import hashlib

import pytest
import torch
from torch import nn

from frostline.freezing import combined, digest, digests
from networks import TiedLanguageModel

KINDS = [
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.complex64,
    torch.int64,
    torch.uint8,
    torch.bool,
    torch.float8_e4m3fn,
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_a_digest_is_the_sha256_of_type_shape_and_bytes(kind):
    numbers = torch.tensor([[0, 1, 1], [1, 0, 0]]).to(kind)
    raw = bytes(numbers.flatten().view(torch.uint8).tolist())
    assert digest(numbers) == hashlib.sha256(f"{kind} (2, 3) ".encode() + raw).hexdigest()


def test_how_a_tensor_lies_in_memory_does_not_matter():
    numbers = torch.arange(24.0).reshape(2, 3, 2, 2)
    others = [
        numbers.to(memory_format=torch.channels_last),
        numbers.flip(0).flip(0),
        torch.zeros(2, 3, 4, 2)[..., ::2, :].copy_(numbers),
        nn.Parameter(numbers),
        numbers.transpose(0, 1).contiguous().transpose(0, 1),
    ]
    assert {digest(other) for other in others} == {digest(numbers)}
    waves = torch.complex(numbers, numbers)
    assert digest(waves.conj().conj()) == digest(waves)
    assert digest(waves.conj()) == digest(waves.conj().resolve_conj()) != digest(waves)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (torch.zeros(1), -torch.zeros(1)),
        (torch.zeros(2, 3), torch.zeros(3, 2)),
        (torch.zeros(2), torch.zeros(2, dtype=torch.int32)),
        (torch.zeros(0, 2), torch.zeros(0, 3)),
        (torch.tensor(0.0), torch.zeros(1)),
    ],
    ids=["sign of zero", "shape", "type", "empty", "scalar"],
)
def test_what_differs_in_any_way_has_another_digest(one, other):
    assert digest(one) != digest(other)


def test_names_aliases_and_what_is_gone():
    network = TiedLanguageModel()
    found = digests(network, ["embed.weight", "decoder.weight", "body.gone"])
    assert found["embed.weight"] == found["decoder.weight"] == digest(network.embed.weight)
    assert found["body.gone"] == ""


def test_one_digest_for_many_depends_on_names_and_values_and_not_on_their_order():
    parts = {"a": "1", "b": "2"}
    assert combined(parts) == combined({"b": "2", "a": "1"})
    assert len({combined(p) for p in (parts, {"a": "2", "b": "1"}, {"a": "1"}, {}, {"a": "1", "c": "2"})}) == 5
