"""The setting: what this process computes in, and where."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Setting:
    """What values depend on beside weights and samples: what this process computes in, and where.

    Attributes:
        autocast: the type that autocast computes in.
        device: its kind.
        precision: of matrix products and convolutions of float32.
        deterministic: whether torch chooses among algorithms with that in mind.
        default: the type of new tensors.
    """

    autocast: torch.dtype | None
    device: str
    precision: tuple[str, ...]
    deterministic: bool
    default: torch.dtype

    @classmethod
    def now(cls, device: torch.device) -> "Setting":
        """Read it off at this moment."""
        # Once a step. The switches that are public warn, or fail, where old and new ones were both used.
        kind = device.type
        return cls(
            torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else None,
            kind,
            _precision(kind),
            torch.are_deterministic_algorithms_enabled(),
            torch.get_default_dtype(),
        )

    def __str__(self) -> str:
        words = [*self.precision, *(["deterministic"] if self.deterministic else []), f"{self.default} by default"]
        return f"{self.autocast or 'fp32'} on {self.device} ({', '.join(words)})"


def _precision(kind: str) -> tuple[str, ...]:
    ask = getattr(torch._C, "_get_fp32_precision_getter", None)  # not there before torch 2.9
    if ask is None:
        return (torch.get_float32_matmul_precision(),)
    return tuple(ask(*one) for one in _PRECISIONS.get(kind, ()))


_PRECISIONS = {
    "cpu": (("mkldnn", "matmul"), ("mkldnn", "conv"), ("mkldnn", "rnn")),
    "cuda": (("cuda", "matmul"), ("cuda", "conv"), ("cuda", "rnn")),
}
