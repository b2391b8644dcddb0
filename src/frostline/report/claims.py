"""The proof as the page shows it: every claim with its status, what it says, and what was measured."""

from dataclasses import dataclass
from typing import Literal

from frostline.record import Json, RunRecord
from frostline.report.listing import as_yaml, shortened, words

STATUSES = {"holds": "held", "fails": "broken", "not applicable": "idle"}
CLAIMS_EXPECTED = 8


@dataclass(frozen=True, kw_only=True)
class Shown:
    """One claim: `mark` names its icon and colour, `measured` is the rest of the evidence as YAML, perhaps empty."""

    name: str
    status: str
    mark: str
    summary: str
    measured: str


@dataclass(frozen=True, kw_only=True)
class ShownProof:
    """The proof: whether the freeze held, its claims, the line to quote, and its warnings."""

    ok: bool
    claims: tuple[Shown, ...]
    line: str
    warnings: tuple[str, ...]

    @property
    def failing(self) -> tuple[str, ...]:
        """The names of the claims that fail."""
        return tuple(claim.name for claim in self.claims if claim.mark == "broken")

    @property
    def tally(self) -> str:
        """How many claims hold, fail, and do not apply."""
        holds, fails, rest = (sum(claim.mark == mark for claim in self.claims) for mark in ("held", "broken", "idle"))
        parts = [
            f"{holds} of {len(self.claims)} claims {'holds' if holds == 1 else 'hold'}",
            f"{fails or 'none'} {'fail' if fails > 1 else 'fails'}",
            *([f"{rest} {'does' if rest == 1 else 'do'} not apply"] if rest else []),
        ]
        return ", ".join(parts)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The one line for a person: `kind` sets its colour and icon."""

    kind: Literal["held", "broken", "open", "idle"]
    line: str
    more: str


def show_proof(proof: Json | None) -> ShownProof | None:
    """Prepare a proof; it counts as held only where it says so itself and no claim of it fails.

    Parts may be missing, since the trainers of others leave proofs too.
    """
    if proof is None:
        return None
    claims = tuple(_shown(claim) for claim in proof.get("claims") or ())
    return ShownProof(
        ok=proof.get("ok") is True and all(claim.mark in ("held", "idle") for claim in claims) and bool(claims),
        claims=claims,
        line=str(proof.get("line") or ""),
        warnings=tuple(str(warning) for warning in proof.get("warnings") or ()),
    )


def verdict(record: RunRecord, proof: ShownProof | None) -> Verdict:
    """Say whether the freeze held."""
    if proof is None:
        why = "the run failed before all of it was proven" if record.status == "failed" else "this run left no proof"
        return Verdict(kind="open", line=f"Not proven: {why}.", more="Whether it held to the end was not checked.")
    if not proof.claims:
        return Verdict(kind="open", line="Not proven: the proof makes no claim.", more="")
    if not proof.ok:
        what = "; ".join(proof.failing) or "the proof says so, though none of its claims fails"
        return Verdict(kind="broken", line="The freeze did NOT hold.", more=f"Failing: {what}. {proof.tally}.")
    if record.phases and not any(row.held for phase in record.phases for row in phase.stages):
        return Verdict(kind="idle", line="Nothing was frozen: every parameter trained.", more=f"{proof.tally}.")
    few = "" if len(proof.claims) >= CLAIMS_EXPECTED else f" A full proof makes {CLAIMS_EXPECTED}."
    return Verdict(kind="held", line=f"The freeze held: {proof.tally}.", more=few.strip())


def _shown(claim: Json) -> Shown:
    evidence = dict(claim.get("evidence") or {})
    status = str(claim.get("status"))
    summary = words(evidence.pop("summary", "no summary was recorded"))
    return Shown(
        name=str(claim.get("name")),
        status=status,
        mark=STATUSES.get(status, "open"),
        summary=summary,
        measured=as_yaml(shortened(evidence)) if evidence else "",
    )
