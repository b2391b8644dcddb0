"""Ranks: the processes of one training run, which record together and decide alike."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import torch.distributed as dist

from frostline.errors import StoreError, UserError
from frostline.replaying.refusal import Refusal
from frostline.replaying.samples.faults import reason_of

T = TypeVar("T")


@dataclass(frozen=True)
class Ranks:
    """This process among all that train together.

    Attributes:
        number: of this process, from 0.
        count: of all.
    """

    number: int = 0
    count: int = 1

    @classmethod
    def now(cls) -> "Ranks":
        """Ask torch.distributed, where somebody has set it up; else there is one process."""
        if not dist.is_available() or not dist.is_initialized():
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    def gather(self, value: T) -> list[T]:
        """Wait for all, and give what each of them has, in their order."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value)
        return values

    def agree(self, reason: str | None) -> None:
        """Wait for all; whatever speaks against replay in one of them counts for every one.

        Args:
            reason: what speaks against it here, or None.

        Raises:
            Refusal: something does.
        """
        reasons = self.gather(reason)
        if reason is not None:
            raise Refusal(reason)
        for number, other in enumerate(reasons):
            if other is not None:
                raise Refusal(f"process {number}: {other}")

    def together(self, act: Callable[[], T]) -> T:
        """Do something in every process of a run, and wait for all.

        Args:
            act: what.

        Raises:
            Refusal: it fails in one of them.
            UserError: it fails here, by the user's mistake; the others are refused.
        """
        reason = None
        try:
            found = act()
        except UserError as error:
            reason = reason_of(error)
            if not isinstance(error, StoreError):
                # The others wait to hear of it.
                self.gather(reason)
                raise
        except Exception as error:  # of somebody's data set or network; their own loop shows it, if it comes there
            if not isinstance(error, Refusal):
                logging.getLogger("frostline.replaying").debug("replay is off", exc_info=True)
            reason = reason_of(error)
        self.agree(reason)
        return found
