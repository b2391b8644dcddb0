"""What the proofs of all runs say: how many claims hold, and which fail."""

from dataclasses import dataclass
from typing import Literal

from frostline.record import RunRecord
from frostline.report.arms import ArmResult, Arms
from frostline.report.claims import ShownProof, show_proof, verdict
from frostline.report.numbers import whole
from frostline.report.tables import Cell, Table, number

SAID = {"held": "the freeze held", "idle": "nothing frozen", "open": "not proven", "broken": "did NOT hold"}
# The worst first: that is what a reader must not miss.
ORDER = ("broken", "open", "held", "idle")


@dataclass(frozen=True, kw_only=True)
class ArmProofs:
    """The proofs in one line, whether all is well, and a row for each run."""

    kind: Literal["held", "broken", "open"]
    said: str
    table: Table


def arm_proofs(arms: Arms) -> ArmProofs:
    """Sum up the proofs of all finished runs."""
    every = [_one(result, seed, record) for result in arms.results for seed, record in result.runs.items()]
    counts = {kind: sum(one == kind for one, _ in every) for kind in ORDER}
    parts = [f"{SAID[kind]} in {count} of {len(every)} runs" for kind, count in counts.items() if count]
    said = "; ".join(parts) or "no run is finished"
    return ArmProofs(
        kind="broken" if counts["broken"] else "open" if counts["open"] or not every else "held",
        said=f"{said[0].upper()}{said[1:]}.",
        table=Table(
            name="proofs",
            caption="The proof of every run",
            headings=(
                ("arm", False), ("seed", True), ("proof", False), ("claims hold", True), ("fail", True),
                ("do not apply", True), ("which fail", False), ("in its words", False),
            ),
            rows=tuple(row for _, row in sorted(every, key=lambda one: ORDER.index(one[0]))),
        ),
    )  # fmt: skip


def proven(result: ArmResult) -> Cell:
    """Say of an arm in how many of its runs the freeze held."""
    kinds = [verdict(record, show_proof(record.proof)).kind for record in result.runs.values()]
    if not kinds:
        return number(None, whole)
    worst = min(kinds, key=ORDER.index)
    held = sum(kind == "held" for kind in kinds)
    alike = {"idle": SAID["idle"], "open": SAID["open"]}
    said = alike[worst] if set(kinds) == {worst} and worst in alike else f"{held} of {len(kinds)} held"
    return Cell(said=said if worst != "broken" else f"{said}, {kinds.count('broken')} did NOT", by=held / len(kinds))


def _one(result: ArmResult, seed: int, record: RunRecord) -> tuple[str, tuple[Cell, ...]]:
    proof = show_proof(record.proof)
    kind = verdict(record, proof).kind
    holds, fails, rest = (_count(proof, mark) for mark in ("held", "broken", "idle"))
    failing = "; ".join(proof.failing) if proof is not None else ""
    return kind, (
        Cell(said=result.arm.name),
        Cell(said=str(seed), by=seed),
        Cell(said=SAID[kind]),
        number(holds, whole),
        number(fails, whole),
        number(rest, whole),
        Cell(said=failing or "none"),
        Cell(said=proof.line if proof is not None else "this run left no proof"),
    )


def _count(proof: ShownProof | None, mark: str) -> int | None:
    return None if proof is None else sum(claim.mark == mark for claim in proof.claims)
