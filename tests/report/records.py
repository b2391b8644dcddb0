"""Records of runs that never were: a small factory for the tests of the report."""

import base64
import dataclasses
import random
from io import BytesIO
from typing import Any

from PIL import Image

from frostline.record import (
    Claim,
    EpochRecord,
    Evaluation,
    Json,
    Mistake,
    PhaseRecord,
    Proof,
    RunRecord,
    Skipped,
    StageOutline,
    StageRow,
    Status,
)

SIZES = {"stem": 1_856, "stage1": 21_120, "stage2": 98_304, "stage3": 412_160, "stage4": 1_690_432, "head": 3_843}
CLAIM_NAMES = (
    "plan equals requires_grad",
    "trained tensors in the optimizer once",
    "held modules in eval",
    "prefix same in train and eval mode",
    "gradients of one real step",
    "digests before and after",
    "save, load, same logits",
    "same digests across processes",
)
SUMMARIES = (
    "62 held and 2 trained tensors, aliases included",
    "2 tensors in 1 group; no held tensor, no state of one",
    "35 norm layers in eval, after .train() too",
    "largest difference 0 on 8 samples",
    "62 held gradients are None, 2 trained ones finite",
    "178 tensors have the digest that they had",
    "largest difference 0",
    "one process",
)


def rows(held_through: int, sizes: dict[str, int] = SIZES, *, split: str | None = None) -> tuple[StageRow, ...]:
    """Hold the first stages, train the rest, and one stage half and half."""
    made = []
    for place, (name, size) in enumerate(sizes.items()):
        held = size // 2 if name == split else size if place < held_through else 0
        norms = 0 if name == "head" else 2
        made.append(
            StageRow(
                stage=name,
                trained=size - held,
                held=held,
                norm_eval=norms if held else 0,
                norm_train=0 if held else norms,
            )
        )
    return tuple(made)


def proof(*, fails: tuple[int, ...] = (), stages: tuple[StageRow, ...] = rows(5)) -> Json:
    """Make a proof; the claims of these numbers (from 0) fail, and the last does not apply."""
    claims = []
    for number, (name, summary) in enumerate(zip(CLAIM_NAMES, SUMMARIES, strict=True)):
        status: Status = "fails" if number in fails else "not applicable" if number == 7 else "holds"
        evidence: Json = {"summary": summary}
        if number == 5:
            evidence |= {"compared": 178, "moved": [f"layer{n}.bn.running_mean" for n in range(60)] if fails else []}
        claims.append(Claim(name=name, status=status, evidence=evidence))
    return Proof(claims=tuple(claims), stages=stages).to_json()


def confusion(classes: int, *, samples: int = 40, seed: int = 0) -> tuple[tuple[int, ...], ...]:
    """Draw a matrix in which most samples are right."""
    draw = random.Random(seed)
    matrix = [[0] * classes for _ in range(classes)]
    for truth in range(classes):
        for _ in range(draw.randint(samples // 2, samples)):
            matrix[truth][truth if draw.random() < 0.85 else draw.randrange(classes)] += 1
    return tuple(map(tuple, matrix))


def jpeg(width: int = 128, height: int = 96, *, colour: str = "teal") -> str:
    """Make a picture as a record holds it."""
    file = BytesIO()
    Image.new("RGB", (width, height), colour).save(file, "JPEG")
    return base64.b64encode(file.getvalue()).decode("ascii")


def mistake(number: int, **changes: Any) -> Mistake:
    """Make a mistake, less sure for larger numbers, with some fields changed."""
    made = Mistake(
        sample=f"/photos/rose/IMG_{number:04}.jpg",
        truth="rose",
        predicted="tulip",
        confidence=0.99 / (1 + number / 10),
        picture=jpeg(),
    )
    return dataclasses.replace(made, **changes)


def evaluation(
    split: str, matrix: tuple[tuple[int, ...], ...], *, mistakes: tuple[Mistake, ...] = (), **metrics: float
) -> Evaluation:
    """Judge a matrix, with metrics as given."""
    return Evaluation(
        split=split,
        samples=sum(map(sum, matrix)),
        loss=0.2731,
        metrics=metrics,
        confusion=matrix,
        mistakes=mistakes,
    )


def record(**changes: Any) -> RunRecord:
    """Make the record of a good run in two phases, with some fields changed."""
    phases = (
        PhaseRecord(
            index=0, freeze="all", lr=1e-3, epochs_asked=5, epochs_done=5, start_from="pretrained", stages=rows(5)
        ),
        PhaseRecord(
            index=1,
            freeze={"through": "stage2"},
            lr=1e-4,
            epochs_asked=10,
            epochs_done=7,
            start_from="best",
            stages=rows(3),
            stopped_early=True,
        ),
    )
    epochs = tuple(
        EpochRecord(
            epoch=number,
            phase=int(number > 5),
            train_loss=1.1 * 0.83**number + (0.02 if number > 5 else 0.1),
            val_loss=1.15 * 0.86**number + 0.12 + 0.01 * (number % 3),
            lr=1e-3 if number <= 5 else 1e-4,
            seconds=1.02,
            metrics={"accuracy": 0.95 - 0.4 * 0.78**number, "macro F1": 0.94 - 0.45 * 0.8**number},
            train_metrics={"accuracy": 0.985 - 0.4 * 0.74**number},
        )
        for number in range(1, 13)
    )
    matrix = ((38, 2, 0), (3, 33, 4), (0, 1, 39))
    made = RunRecord(
        name="flowers-two-stage",
        recipe={
            "task": "images",
            "data": {"train": "photos/", "val": 0.2, "size": 224},
            "model": {"name": "torchvision/mobilenet_v2", "weights": "pretrained"},
            "head": "linear",
            "phases": [
                {"epochs": 5, "freeze": "all", "lr": 1e-3},
                {"epochs": 10, "freeze": {"through": "stage2"}, "lr": 1e-4, "start_from": "best"},
            ],
            "optimizer": "adamw",
            "precision": "fp32",
            "seed": 0,
        },
        network="torchvision/mobilenet_v2",
        classes=("daisy", "rose", "tulip"),
        samples={"train": 960, "val": 120, "test": 120},
        outline=tuple(StageOutline(name=name, parameters=size, layers=(f"{name}.0",)) for name, size in SIZES.items()),
        phases=phases,
        epochs=epochs,
        best={"epoch": 11, "phase": 1, "metrics": dict(epochs[10].metrics), "by": "val accuracy"},
        evaluations=(
            evaluation("val", matrix, accuracy=0.9167, **{"macro F1": 0.9161}),
            evaluation(
                "test",
                ((37, 3, 0), (2, 36, 2), (1, 0, 39)),
                mistakes=tuple(mistake(number) for number in range(5)),
                accuracy=0.93333,
                **{"macro F1": 0.9332},
            ),
        ),
        seconds={"total": 80.4, "prefix store": 9.1, "train": 48.6, "val": 11.2, "proof": 6.3},
        peak_rss_mb=1450.0,
        parameters={
            "total": sum(SIZES.values()),
            "phases": [
                {"trained": sum(row.trained for row in phase.stages), "held": sum(row.held for row in phase.stages)}
                for phase in phases
            ],
        },
        proof=proof(),
        versions={"frostline": "0.1.0", "torch": "2.9.1", "torchvision": "0.24.1", "python": "3.11.7"},
        machine={"system": "Linux", "cpu": "2 cores", "gpu": None, "devices": ["cpu"]},
        started="2025-11-21T03:45:10+00:00",
        augmentation=("RandomHorizontalFlip(p=0.5)", "MixUp(alpha=0.2)"),
        skipped=(
            Skipped(name="/photos/rose/empty.jpg", reason="empty: zero bytes"),
            Skipped(name="/photos/tulip/cut.jpg", reason="image file is truncated"),
        ),
    )
    return dataclasses.replace(made, **changes)


def hundred_classes() -> RunRecord:
    """A record with a hundred classes of long names, and a network of many blocks."""
    names = tuple(f"Überlanger Klassenname Nummer {n:03} – 花の名前 with a very long tail of words" for n in range(100))
    sizes = {"stem": 742_656, **{f"block{n}": 7_087_872 for n in range(1, 13)}, "head": 76_900}
    stages = rows(9, sizes, split="block9")
    return record(
        name="hundred-classes-" + "long-" * 12 + "name",
        network="timm/vit_base_patch16_224",
        classes=names,
        outline=tuple(StageOutline(name=name, parameters=size, layers=()) for name, size in sizes.items()),
        phases=(
            PhaseRecord(
                index=0, freeze={"match": ["blocks.0.*", "blocks.1.*", "patch_embed.*"], "norm": "train"}, lr=5e-5,
                epochs_asked=12, epochs_done=12, start_from="pretrained", stages=stages,
            ),
        ),
        evaluations=(evaluation("test", confusion(100), **{"accuracy": 0.8512, "top-5 accuracy": 0.97}),),
        epochs=tuple(dataclasses.replace(epoch, phase=0) for epoch in record().epochs),
        best={**record().best, "phase": 0},
        proof=proof(stages=stages),
        warnings=("block9 is half held: its attention trains, its MLP does not.", "No replay: LayerDrop is random."),
    )  # fmt: skip


def one_epoch() -> RunRecord:
    """A record of one epoch without validation, without evaluations, with a single class."""
    first = record().epochs[0]
    return record(
        epochs=(dataclasses.replace(first, val_loss=None, metrics={}, train_metrics={}),),
        phases=(dataclasses.replace(record().phases[0], epochs_asked=1, epochs_done=1),),
        best={"epoch": 1, "phase": 0, "metrics": {}, "by": "last epoch"},
        evaluations=(),
        classes=("only",),
        samples={"train": 10, "val": 0, "test": 0},
        seconds={"total": 0.42},
    )


def failed() -> RunRecord:
    """A record of a run that failed before its first epoch was over."""
    return record(
        status="failed",
        failure="NonFiniteLossError: the loss became NaN in step 3",
        phases=(),
        epochs=(),
        best={},
        evaluations=(),
        parameters={},
        seconds={},
        proof=None,
        samples={},
        machine={},
        versions={},
        recipe={},
    )


def broken() -> RunRecord:
    """A record whose freeze did not hold."""
    return record(proof=proof(fails=(2, 5)), status="failed", failure="ProofError: 60 buffers moved")


def gradual() -> RunRecord:
    """A record of sixty epochs in six phases, with a loss that falls over several powers of ten."""
    phases = tuple(
        PhaseRecord(
            index=n, freeze={"through": f"stage{5 - n}"} if n < 5 else "none", lr=1e-3 / 2**n, epochs_asked=10,
            epochs_done=10, start_from="previous" if n else "pretrained", stages=rows(5 - n),
        )
        for n in range(6)
    )  # fmt: skip
    epochs = tuple(
        EpochRecord(
            epoch=n + 1, phase=n // 10, train_loss=18 * 0.9**n + 0.004, val_loss=19 * 0.91**n + 0.05 if n % 2 else None,
            lr=1e-3, seconds=75.5, metrics={"accuracy": 1 - 0.9 * 0.93**n, "top-5 accuracy": 1 - 0.3 * 0.9**n},
        )
        for n in range(60)
    )  # fmt: skip
    return record(
        name="gradual",
        phases=phases,
        epochs=epochs,
        best={"epoch": 60, "phase": 5, "metrics": dict(epochs[-1].metrics), "by": "val accuracy"},
        seconds={"total": 4530.0, "train": 4400.0},
        classes=("yes", "no"),
        evaluations=(evaluation("test", ((50, 0), (7, 0)), accuracy=0.877),),
    )


def hostile() -> RunRecord:
    """A record in which every word is an attack or oddity."""
    attack = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    return record(
        name=attack,
        network=attack + "\u202e\x00\x1b\ud800",
        classes=(attack, "{{ 7 * 7 }}", "</style><style>@import 'x'"),
        recipe={attack: attack, "nested": {"text": "a\x07b", "list": (attack, None, float("inf"))}},
        warnings=(attack,),
        status="failed",
        failure=attack,
        machine={attack: attack},
        versions={attack: attack},
        started=attack,
        samples={attack: 1},
        seconds={"total": 1.0, attack: 0.7},
        phases=tuple(
            dataclasses.replace(phase, freeze={attack: [attack]}, start_from=attack) for phase in record().phases
        ),
        outline=(StageOutline(name=attack, parameters=10, layers=(attack,)),),
        evaluations=(
            evaluation(
                attack,
                ((1, 2, 3), (0, 0, 0), (0, 1, 0)),
                mistakes=(
                    Mistake(sample=attack, truth=attack, predicted=attack, confidence=0.9, picture=jpeg()),
                    Mistake(sample="/" + attack, truth="{{ 7 * 7 }}", predicted=attack, confidence=0.8, picture=attack),
                    mistake(2, picture=jpeg() + '" onerror="alert(1)'),
                ),
                **{attack: 0.5},
            ),
        ),
        augmentation=(attack,),
        skipped=(Skipped(name=attack, reason=attack),),
        best={"epoch": 3, "phase": 0, "metrics": {attack: 0.5}, "by": attack},
        proof={"claims": [{"name": attack, "status": attack, "evidence": {"summary": attack, attack: [attack]}}]},
    )


def unbroken() -> RunRecord:
    """A record whose names are longer than any line and have no place to break."""
    name = "x" * 300
    return record(
        name=name,
        network=name,
        classes=(name, name + "y", name + "z"),
        recipe={name: name},
        warnings=(name,),
        machine={name: name},
        versions={name: name},
        samples={name: 1},
        seconds={"total": 2.0, name: 1.0},
        phases=tuple(dataclasses.replace(phase, freeze=name, start_from=name) for phase in record().phases),
        outline=(StageOutline(name=name, parameters=10, layers=()),),
        evaluations=(
            evaluation(
                "val",
                ((1, 1, 0), (0, 1, 0), (0, 0, 1)),
                mistakes=(mistake(0, sample=name, truth=name, predicted=name + "y"),),
            ),
        ),
        augmentation=(name,),
        skipped=tuple(Skipped(name=f"{name}{number}", reason=name) for number in range(2)),
        proof={**proof(), "line": name, "warnings": [name]},
    )


EVERY = {
    "good": record,
    "hundred classes": hundred_classes,
    "one epoch": one_epoch,
    "failed": failed,
    "broken": broken,
    "gradual": gradual,
    "hostile": hostile,
    "unbroken": unbroken,
}
