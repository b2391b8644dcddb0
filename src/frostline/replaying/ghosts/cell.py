"""Cells: a tensor that is made when something first asks for it, and is the same one from then on."""

import weakref
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

import torch
from torch import Tensor

How = Callable[[Tensor], Tensor]


class Giver(Protocol):
    """Gives a tensor."""

    def real(self, why: str) -> Tensor:
        """Give it, and hear what for."""


T = TypeVar("T", bound=Giver)


class Cell(Generic[T]):
    """Holds the tensor that something stands for.

    Attributes:
        ticket: gives the tensor; None once it is made.
    """

    __slots__ = ("__weakref__", "_device", "_how", "_of", "_sharing", "_tensor", "ticket")

    def __init__(self, ticket: T, device: torch.device, *, how: tuple[How, ...] = ()) -> None:
        """Begin without a tensor.

        Args:
            ticket: gives it.
            device: where it is put.
            how: what is done to it then.
        """
        self.ticket: T | None = ticket
        self._device, self._how = device, how
        self._tensor: Tensor | None = None
        self._of: Cell[T] | None = None
        self._sharing: tuple[weakref.ref[Cell[T]], ...] = ()

    @property
    def filled(self) -> bool:
        """Whether the tensor is made, so that something may have worked on it."""
        return self._tensor is not None

    def real(self, why: str) -> Tensor:
        """Give the tensor.

        Args:
            why: what asks for it.
        """
        if self._of is not None:
            self._of.real(why)
        if self._tensor is None and self.ticket is not None:
            # It may outlive that mode, as the batches in a list do.
            with torch.inference_mode(False):
                tensor = self.ticket.real(why).to(self._device)
                for how in self._how:
                    tensor = how(tensor)
                self._fill(tensor)
        if self._tensor is None:
            raise RuntimeError("a cell has neither a tensor nor a ticket")
        return self._tensor

    def copied(self, how: How) -> "Cell[T]":
        """Give the cell of a copy: what is done to one of the two from now on is not done to the other.

        Args:
            how: makes the copy.
        """
        if self.ticket is None:
            raise RuntimeError("the tensor is made: copy that")
        return Cell(self.ticket, self._device, how=(*self._how, how))

    def shared(self, how: How) -> "Cell[T]":
        """Give the cell of a tensor in the same memory; both are made at once, so that each sees the other's work.

        Args:
            how: makes it of this one's tensor.
        """
        other = self.copied(how)
        other._of = self
        self._sharing = (*self._sharing, weakref.ref(other))
        return other

    def _fill(self, tensor: Tensor) -> None:
        self._tensor, self.ticket, self._of = tensor, None, None
        for one in (known() for known in self._sharing):
            if one is not None:
                one._fill(one._how[-1](tensor))
        self._sharing = ()
