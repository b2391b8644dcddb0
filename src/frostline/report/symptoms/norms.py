"""Norm layers of held parts in train mode: their statistics move though their parameters do not."""

from collections.abc import Iterator, Mapping

from frostline.record import Json, RunRecord
from frostline.report.frost import phase_numbers
from frostline.report.symptoms.asked import asked
from frostline.report.symptoms.symptom import Symptom

# Of the claim about modes, as the proof names it: by its evidence, for its name is made for people.
BY_CHOICE = "norm_train_by_choice"
CURE = (
    "Leave `norm: eval`, which is the default; in a loop of your own, let frostline.freeze() hold the network, since "
    "the next .train() undoes .eval(), and a callback may never be called."
)


def norms_in_train(record: RunRecord) -> Iterator[Symptom]:
    """Find held stages whose norm layers are in train mode, in the table of the phases and in the proof."""
    numbers = phase_numbers(record)
    found = {
        numbers[phase.index]: {row.stage: row.norm_train for row in phase.stages if row.held and not row.trained}
        for phase in record.phases
    }
    found = {number: moving for number, rows in found.items() if (moving := {s: n for s, n in rows.items() if n})}
    claim = _claim_of_modes(record)
    chosen = _chosen(record, claim)
    where = "; ".join(
        f"{f'phase {number}: ' if len(record.phases) > 1 else ''}"
        + ", ".join(f"{count} in {stage}" for stage, count in rows.items())
        for number, rows in found.items()
    )
    if chosen:
        if where or (claim or {}).get(BY_CHOICE):
            yield Symptom(
                title="Norm layers of frozen parts are in train mode, as you asked",
                evidence=f"`norm: train`; {where or f'{(claim or {})[BY_CHOICE]} of them'}",
                advice="Their statistics follow your data, so the frozen part is no fixed function, and it cannot be "
                "replayed.",
                severity="note",
            )
    elif where:
        yield Symptom(
            title="Norm layers of frozen parts are in train mode",
            evidence=f"norm layers in train mode in stages that are held as a whole: {where}",
            advice=CURE,
            severity="fault",
        )
    elif claim is not None and claim["status"] == "fails" and claim["summary"] not in str(record.failure):
        yield Symptom(
            title="Frozen parts do not stay in eval mode",
            evidence=f"the proof says: {claim['summary']}",
            advice=CURE,
            severity="fault",
        )


def _claim_of_modes(record: RunRecord) -> Json | None:
    """Give what the proof says of modes: the evidence of that claim, and its status."""
    for claim in (record.proof or {}).get("claims") or ():
        evidence = claim.get("evidence")
        named = "eval" in str(claim.get("name")) and "held modules" in str(claim.get("name"))
        if isinstance(evidence, Mapping) and (BY_CHOICE in evidence or named):
            return {"summary": "no summary was recorded", **evidence, "status": claim.get("status")}
    return None


def _chosen(record: RunRecord, claim: Json | None) -> bool:
    """Whether the recipe, or the freeze of a phase, or the proof says that norm layers were to be in train mode."""
    freezes = (phase.freeze for phase in record.phases)
    return (
        asked(record, "norm") == "train"
        or any(isinstance(freeze, Mapping) and freeze.get("norm") == "train" for freeze in freezes)
        or bool((claim or {}).get(BY_CHOICE))
    )
