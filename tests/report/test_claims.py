"""The verdict: it says that the freeze held only where the proof leaves no doubt."""

import dataclasses
from typing import Any

import pytest

from frostline.record import Json
from frostline.report import render
from frostline.report.claims import show_proof, verdict

from . import records
from .html_page import Page


def changed(**changes: Any) -> Json:
    return {**records.proof(), **changes}


def with_status(status: Any) -> Json:
    proof = records.proof()
    return {**proof, "claims": [{**proof["claims"][0], "status": status}, *proof["claims"][1:]]}


@pytest.mark.parametrize(
    ("proof", "kind"),
    [
        (records.proof(), "held"),
        (records.proof(fails=(0,)), "broken"),
        ({**records.proof(fails=(0,)), "ok": True}, "broken"),
        (changed(ok=False), "broken"),
        (changed(ok="yes"), "broken"),
        ({key: value for key, value in records.proof().items() if key != "ok"}, "broken"),
        (with_status("unknown"), "broken"),
        (with_status(None), "broken"),
        (changed(claims=[]), "open"),
        ({}, "open"),
        (None, "open"),
    ],
    ids=[
        "all hold",
        "one fails",
        "one fails, yet ok",
        "none fails, yet not ok",
        "ok is no truth value",
        "ok is missing",
        "a status that nobody knows",
        "no status",
        "no claims",
        "an empty proof",
        "no proof",
    ],
)
def test_verdict(proof: Json | None, kind: str) -> None:
    record = records.record(proof=proof)
    assert verdict(record, show_proof(proof)).kind == kind
    page = Page(render(record))
    assert page.all(css_class="verdict")[0]["class"].split() == ["verdict", kind]
    assert ("The freeze held" in page.text) == (kind == "held")


def test_a_run_that_held_nothing_does_not_boast() -> None:
    phase = dataclasses.replace(records.record().phases[0], freeze="none", stages=records.rows(0))
    record = records.record(phases=(phase,))
    said = verdict(record, show_proof(record.proof))
    assert (said.kind, said.line) == ("idle", "Nothing was frozen: every parameter trained.")


def test_fewer_than_eight_claims_are_told() -> None:
    proof = changed(claims=records.proof()["claims"][:1])
    said = verdict(records.record(), show_proof(proof))
    assert (said.line, said.more) == ("The freeze held: 1 of 1 claims holds, none fails.", "A full proof makes 8.")


def test_every_claim_shows_its_summary_and_the_rest_of_its_evidence() -> None:
    text = Page(render(records.record())).text
    places = [
        text.index(f"{name} {summary}") for name, summary in zip(records.CLAIM_NAMES, records.SUMMARIES, strict=True)
    ]
    assert places == sorted(places)
    assert "what was measured compared: 178 moved: []" in text


def test_warnings_of_the_proof_are_shown() -> None:
    text = Page(render(records.record(proof=changed(warnings=["lora_B had no gradient for 3 steps"])))).text
    assert "Warnings of the proof lora_B had no gradient for 3 steps" in text
