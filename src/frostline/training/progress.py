"""What a person sees while it trains: a bar in a terminal, plain lines elsewhere."""

import time
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from frostline.record import EpochRecord


class Display(Protocol):
    """Told of every phase, step and epoch."""

    def phase(self, title: str, *, epochs: int, steps: int, done: int = 0) -> None:
        """A phase of so many epochs of so many steps begins; of a resumed one some epochs are done."""

    def say(self, line: str) -> None:
        """Something that a person should know about the phase to come."""

    def recorded(self, done: int, total: int) -> None:
        """So many samples are recorded for replay, before the phase's first step."""

    def step(self, *, epoch: int, loss: float) -> None:
        """One step of an epoch is done."""

    def epoch(self, record: EpochRecord) -> None:
        """One epoch is done."""

    def close(self) -> None:
        """The training is over, or has failed."""


# A log that nobody watches gets a line so often while samples are recorded.
COUNT_SECONDS = 30.0


class Lines:
    """One line a phase and an epoch, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._told = time.monotonic()

    def phase(self, title: str, *, epochs: int, steps: int, done: int = 0) -> None:
        self._told = time.monotonic()
        self.say(_heading(title, epochs=epochs, steps=steps, done=done))

    def say(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)

    def recorded(self, done: int, total: int) -> None:
        if time.monotonic() - self._told >= COUNT_SECONDS and done < total:
            self._told = time.monotonic()
            self.say(f"recording: {done:,} of {total:,} samples")

    def step(self, *, epoch: int, loss: float) -> None:
        pass

    def epoch(self, record: EpochRecord) -> None:
        self._console.print(_line(record), highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        pass


class Bars:
    """A bar a phase: epoch, steps, steps a second, time left, loss, last metric; above it a line for each epoch.

    While samples are recorded, a bar of their own stands in its place.
    """

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[loss]}"),
            TextColumn("{task.fields[metric]}"),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None
        self._recording: TaskID | None = None
        self._begun = time.monotonic()
        self._steps = 0
        self._steps_before = 0

    def phase(self, title: str, *, epochs: int, steps: int, done: int = 0) -> None:
        if self._task is not None:
            self._progress.remove_task(self._task)
        # Not earlier: who fails before the first phase has no terminal to give back.
        self._progress.start()
        self.say(_heading(title, epochs=epochs, steps=steps, done=done))
        self._begun, self._steps, self._steps_before = time.monotonic(), 0, done * steps
        self._task = self._progress.add_task(
            "epoch …", completed=done * steps, total=epochs * steps, loss="loss …", rate="", metric=""
        )

    def say(self, line: str) -> None:
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def recorded(self, done: int, total: int) -> None:
        if self._task is not None:
            self._progress.update(self._task, visible=done >= total)
        if self._recording is None:
            self._recording = self._progress.add_task(
                "recording", completed=done, total=total, loss="", rate="samples", metric=""
            )
        self._progress.update(self._recording, completed=done, total=total)
        if done >= total:
            self._progress.remove_task(self._recording)
            self._recording = None

    def step(self, *, epoch: int, loss: float) -> None:
        if self._task is None:
            return
        if self._steps == 0:
            self._first_step(self._task)
        self._steps += 1
        rate = self._steps / max(time.monotonic() - self._begun, 1e-9)
        self._progress.update(
            self._task, advance=1, description=f"epoch {epoch}", loss=f"loss {loss:.4f}", rate=f"{rate:.1f} steps/s"
        )

    def _first_step(self, task: TaskID) -> None:
        """Leave out of the time what came before: probing and recording, and the bar of one that was given up."""
        if self._recording is not None:
            self._progress.remove_task(self._recording)
            self._recording = None
        self._progress.reset(task, completed=self._steps_before, visible=True)
        self._begun = time.monotonic()

    def epoch(self, record: EpochRecord) -> None:
        if self._task is not None and record.metrics:
            name, value = next(iter(record.metrics.items()))
            self._progress.update(self._task, metric=f"val {name.replace('_', ' ')} {value:.4f}")
        self._progress.console.print(_line(record), highlight=False, markup=False, soft_wrap=True)

    def close(self) -> None:
        self._progress.stop()


class Silent:
    """Says nothing, for programs."""

    def phase(self, title: str, *, epochs: int, steps: int, done: int = 0) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def recorded(self, done: int, total: int) -> None:
        pass

    def step(self, *, epoch: int, loss: float) -> None:
        pass

    def epoch(self, record: EpochRecord) -> None:
        pass

    def close(self) -> None:
        pass


def display(console: Console) -> Display:
    """Choose bars for a terminal and lines for anything else."""
    return Bars(console) if console.is_terminal else Lines(console)


def _heading(title: str, *, epochs: int, steps: int, done: int = 0) -> str:
    resumed = f", resumed after {done}" if done else ""
    return f"{title}: {epochs} epoch{'s'[: epochs != 1]} of {steps} step{'s'[: steps != 1]}{resumed}"


def _line(record: EpochRecord) -> str:
    parts = [f"epoch {record.epoch:>3}", f"loss {record.train_loss:.4f}"]
    if record.val_loss is not None:
        parts.append(f"val loss {record.val_loss:.4f}")
    parts += [f"{name.replace('_', ' ')} {value:.4f}" for name, value in record.metrics.items()]
    return "  ".join([*parts, f"lr {record.lr:.2e}", f"{record.seconds:.1f} s"])
