"""What a symptom is: what stands out, the numbers that show it, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

# fault: something did not happen that was asked for; sign: numbers point to trouble; note: worth knowing, no trouble.
Severity = Literal["fault", "sign", "note"]


@dataclass(frozen=True, kw_only=True)
class Symptom:
    """One thing that stands out in a record.

    Attributes:
        title: what it is, in the same words in every run that has it.
        evidence: the numbers of the record that show it.
        advice: what to do about it.
        severity: how much it matters.
        where: of an ablation: which of its runs have it.
    """

    title: str
    evidence: str
    advice: str
    severity: Severity = "sign"
    where: str = ""

    @property
    def line(self) -> str:
        """All but the advice, in one line for a terminal."""
        where = f" ({self.where})" if self.where else ""
        return f"{self.title}{where}: {self.evidence}"
