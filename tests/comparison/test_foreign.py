"""Tables of epochs that other trainers leave behind: what is read from them, and what is said where that is nothing."""

import math
from pathlib import Path

import pytest

from frostline.comparison import read_csv, read_ultralytics
from frostline.errors import RunError

DETECT = """\
                  epoch,      time,train/box_loss,train/cls_loss,train/dfl_loss,metrics/precision(B),metrics/recall(B),metrics/mAP50(B),metrics/mAP50-95(B),val/box_loss,val/cls_loss,val/dfl_loss,lr/pg0
1,10.5,1.5,1.25,1.0,0.5,0.25,0.375,0.2,2.0,1.0,0.5,0.001
2,20.0,1.0,1.0,0.5,0.6,0.30,0.400,0.3,1.5,1.0,0.5,0.002
2,21.0,1.0,0.75,0.5,0.6,0.35,0.450,0.4,1.5,1.0,0.25,0.002
"""  # noqa: E501 - as ultralytics writes it, with the spaces of its older releases; epoch 2 twice, as after a resume
CLASSIFY = (
    "epoch,time,train/loss,metrics/accuracy_top1,metrics/accuracy_top5,val/loss,lr/pg0\n0,2.5,1.1,0.5,1,1.0,0.01\n"
)
LIGHTNING = """\
epoch,lr-AdamW,step,train_loss,val_acc,val_loss
0,,9,,0.5,0.75
0,0.001,9,0.9,,
1,,19,,0.625,0.5
1,0.001,19,0.6,,
"""


def written(folder: Path, text: str, name: str = "results.csv", args: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    if args:
        (folder / "args.yaml").write_text(args)
    return folder


def test_a_detector_of_ultralytics(tmp_path: Path) -> None:
    args = "model: yolo11n.pt\nfreeze: 10\nseed: 4\nsave_dir: /runs/detect/train\n"
    record = read_ultralytics(written(tmp_path / "train", DETECT, args=args))
    assert (record.name, record.network) == ("train", "yolo11n.pt")
    assert (record.recipe["seed"], record.recipe["settings"]["freeze"]) == (4, 10)
    first, last = record.epochs
    assert (first.epoch, first.train_loss, first.val_loss, first.seconds, first.lr) == (1, 3.75, 3.5, 10.5, 0.001)
    assert first.metrics == {"precision": 0.5, "recall": 0.25, "mAP50": 0.375, "mAP50-95": 0.2}
    assert (last.epoch, last.train_loss, last.val_loss, last.seconds) == (2, 2.25, 2.75, 10.5)
    assert last.metrics["mAP50-95"] == 0.4
    assert record.seconds == {"total": 21.0}


def test_a_classifier_of_ultralytics_without_what_it_was_asked(tmp_path: Path) -> None:
    record = read_ultralytics(written(tmp_path / "train", CLASSIFY))
    (epoch,) = record.epochs
    assert (epoch.epoch, epoch.metrics) == (1, {"accuracy": 0.5, "accuracy_top5": 1.0})
    assert (epoch.train_loss, epoch.val_loss) == (1.1, 1.0)
    assert record.network == ""


def test_a_resumed_clock_begins_anew(tmp_path: Path) -> None:
    record = read_ultralytics(written(tmp_path / "train", "epoch,time,train/loss\n1,10,1\n2,20,1\n3,9,1\n"))
    assert [epoch.seconds for epoch in record.epochs] == [10, 10, 9]


@pytest.mark.parametrize("args", ["[", "- a\n- b\n", "\x00"])
def test_settings_that_are_none_do_not_stop_it(tmp_path: Path, args: str) -> None:
    record = read_ultralytics(written(tmp_path / "train", CLASSIFY, args=args))
    assert record.recipe == {"settings": {}, "seed": 0}


def test_rows_of_one_epoch_are_put_together(tmp_path: Path) -> None:
    record = read_csv(written(tmp_path / "version_0", LIGHTNING, "metrics.csv") / "metrics.csv")
    assert record.name == "version_0"
    assert [(one.epoch, one.train_loss, one.val_loss, one.metrics) for one in record.epochs] == [
        (1, 0.9, 0.75, {"accuracy": 0.5}),
        (2, 0.6, 0.5, {"accuracy": 0.625}),
    ]


def test_columns_are_called_as_one_says(tmp_path: Path) -> None:
    written(tmp_path, "Epoche;\nE,L,T,G\n", "x.csv")
    (tmp_path / "x.csv").write_text("E,L,T,G\n3,0.5,12,0.25\n4,0.25,13,0.5\n")
    columns = {"epoch": "E", "train_loss": "L", "seconds": "T", "accuracy": "G"}
    record = read_csv(tmp_path / "x.csv", columns=columns)
    assert record.name == "x"
    assert [(one.epoch, one.train_loss, one.seconds, one.metrics) for one in record.epochs] == [
        (3, 0.5, 12, {"accuracy": 0.25}),
        (4, 0.25, 13, {"accuracy": 0.5}),
    ]
    assert all(one.val_loss is None and math.isnan(one.lr) for one in record.epochs)


@pytest.mark.parametrize(
    ("text", "columns", "says"),
    [
        ("", None, "no numbers in it"),
        ("epoch,loss\n", None, "no numbers in it"),
        ("\x00\xff", None, "no numbers in it"),
        ("a,b\n1,2\n", None, "no column of epochs; it has a, b"),
        ("epoch,b\n1,2\n", {"accuracy": "acc"}, "no column acc; it has epoch, b"),
        ("epoch,b\n1,2\n", {"epoch": "Epoch"}, "no column Epoch; it has epoch, b"),
    ],
)
def test_what_is_no_table_of_epochs_is_one_clear_line(
    tmp_path: Path, text: str, columns: dict[str, str] | None, says: str
) -> None:
    (tmp_path / "t.csv").write_text(text)
    with pytest.raises(RunError) as error:
        read_csv(tmp_path / "t.csv", columns=columns)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_numbers_that_are_none_are_no_epochs(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("epoch,accuracy\nnan,0.5\n1,nan\n2,0.5\n")
    assert [one.epoch for one in read_csv(tmp_path / "t.csv").epochs] == [1, 2]


def test_no_table_at_all(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no such file"):
        read_csv(tmp_path / "none.csv")
