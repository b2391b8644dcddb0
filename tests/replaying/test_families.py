"""A sample of studies/replay_families.py: a dozen kinds of networks, replayed and compared with computing.

What the study's page says of all the others is checked as it stands there. The others are left to the study itself
(`make table-replay-families`): they are tried in the same way, only slower.
"""

import pytest
import torch

from replaying.studies import study as load_study

page, study, trial, made, outlines = map(
    load_study, ("replay_families", "replay_sweep", "replay_trial", "replay_networks", "outlines")
)
pytestmark = pytest.mark.filterwarnings("ignore")  # what timm and transformers say to themselves

# One of each kind: modules called twice and parallel branches (CoaT), lists (DLA), squeeze and excite, attention
# across channels (EdgeNeXt), shuffled channels, layers without biases.
TIMM = ("coat_tiny", "dla46x_c", "mobilenetv3_small_050", "edgenext_xx_small")
TORCHVISION = ("shufflenet_v2_x0_5", "squeezenet1_1")
TRANSFORMERS = (
    "BERT",
    "DistilBERT",
    "RoBERTa",
    "ALBERT",
    "T5 encoder",
    "ConvNextV2",
    "Swinv2",
    "DINOv2",
    "Wav2Vec2",
    "PP-OCRv5 mobile",
)


def tnt():
    """Fold the batch into another dimension: patches of patches."""
    from timm.models.tnt import TNT

    return TNT(img_size=64, patch_size=16, embed_dim=48, inner_dim=8, depth=3, num_heads_inner=2, num_heads_outer=4)


def swin():
    """Shift windows, which are folded into the batch."""
    from timm.models.swin_transformer import SwinTransformer

    return SwinTransformer(img_size=64, window_size=4, embed_dim=24, depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8))


def selecsls():
    """Pass lists from block to block."""
    from timm.models.selecsls import SelecSls, SelecSlsBlock

    config = {
        "block": SelecSlsBlock,
        "features": [(32, 0, 16, 16, True, 2), (16, 16, 16, 32, False, 1), (32, 0, 24, 24, True, 2)],
        "head": [(24, 40, 3, 2), (40, 64, 3, 1)],
        "num_features": 64,
        "feature_info": [{"num_chs": 32, "module": "stem.2"}, {"num_chs": 64, "module": "head.1"}],
    }
    return SelecSls(config)


SMALL = {"TNT": tnt, "Swin": swin, "SelecSLS": selecsls}


def _network(source, name):
    if source == "transformers":
        return next(one for one in made.of_transformers() if one.family == name)
    if source == "shared":
        found = next((one for one in made.of_shared() if one.name == name), None)
        return found or pytest.skip(f"shared/models is not here: this test needs its {name}")
    if source == "small":
        return made.Network(
            source=source,
            family=name,
            name=name,
            parameters=1,
            given="",
            build=SMALL[name],
            sample=made._image(3, 64, 64),
        )
    return made.of_images(source, name, name, outlines.build(source, name))


CASES = [
    *(("timm", name) for name in TIMM),
    *(("torchvision", name) for name in TORCHVISION),
    *(("transformers", name) for name in TRANSFORMERS),
    *(("small", name) for name in SMALL),
    ("shared", "CifarResNet"),
    ("shared", "LPRNet"),
]


@pytest.mark.parametrize(("source", "name"), CASES, ids=lambda word: word)
def test_a_network_is_replayed_to_the_bit_at_every_depth(source, name):
    row = study.study(_network(source, name))
    outcomes = {finding.depth: (finding.outcome, finding.reason) for finding in row.findings.values()}
    assert not [depth for depth, (outcome, _) in outcomes.items() if outcome not in (study.EXACT, study.ABSENT)], (
        outcomes
    )
    assert study.EXACT in {outcome for outcome, _ in outcomes.values()}


def test_a_wrong_number_is_seen(monkeypatch):
    """Break a single stored number on purpose: the comparison is not blind."""
    from frostline.replaying.recording.prefix import Prefix

    right = Prefix.fetch

    def wrong(self, entries):
        found = dict(right(self, entries))
        slot, tensor = next(iter(found.items()))
        found[slot] = tensor.clone()
        found[slot].flatten()[0] += 1e-3
        return found

    monkeypatch.setattr(Prefix, "fetch", wrong)
    row = study.study(_network("transformers", "ViT"))
    assert {finding.outcome for finding in row.findings.values()} == {study.FAILED}
    assert all("is another" in finding.reason for finding in row.findings.values())


def test_computing_in_place_of_replaying_is_seen(monkeypatch):
    monkeypatch.setattr(trial.ReplayLoader, "__iter__", lambda self: iter(self.original))
    row = study.study(_network("transformers", "ViT"))
    assert all("0 of 8 samples were looked up" in finding.reason for finding in row.findings.values()), row


def test_what_draws_random_numbers_is_refused_with_the_reason():
    found = study.study(_network("transformers", "Wav2Vec2, masks and LayerDrop")).findings
    assert found["all"].outcome == study.EXACT  # held as a whole it is in eval mode, and neither masks nor drops
    assert [found[depth].outcome for depth in ("middle", "first")] == [study.REFUSED] * 2
    assert all(found[depth].excused for depth in ("middle", "first")), found


def test_bits_are_compared_and_not_values():
    nan, zero = torch.tensor([float("nan")]), torch.tensor([0.0])
    assert trial.same_bits(nan, nan.clone())
    assert not trial.same_bits(zero, -zero)
    assert not trial.same_bits(zero, zero.double())


def test_the_largest_difference_is_a_share_of_the_largest_number():
    computed = [[torch.tensor([1.0, -4.0])], [torch.tensor([2.0, float("nan")])]]
    replayed = [[torch.tensor([1.0, -4.0])], [torch.tensor([2.5, float("nan")])]]
    assert trial.deviation(replayed, computed) == 0.125


def _page():
    lines = page.PAGE.read_text(encoding="utf-8").splitlines()
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("| ")]
    return [dict(zip(page.HEADER, row, strict=True)) for row in cells[2:]]


def test_the_page_has_every_family_and_no_wrong_value():
    rows = _page()
    there = {(row["source"], row["family"]) for row in rows}
    every = {(source, family) for source, family, _ in outlines.families()}
    assert every - there == set()
    outcomes = [row[depth] for row in rows for depth in ("all", "middle", "first")]
    assert not [outcome for outcome in outcomes if study.FAILED in outcome]
    assert len([outcome for outcome in outcomes if outcome.startswith(study.EXACT)]) > 300
