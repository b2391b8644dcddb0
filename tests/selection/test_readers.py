"""Readers of pictures and texts: both halves run where nothing is given, and no number of tokens is a resolution."""

import pytest
import torch

from frostline.selection import outline
from lora import small

PICTURE = {"deepseek_ocr2": small.deepseek_ocr2, "got_ocr2": small.got_ocr2}


@pytest.mark.parametrize("kind", PICTURE)
def test_both_halves_run_where_nothing_is_given(kind: str):
    model = PICTURE[kind]()

    read = outline(model)

    never = [entry.name for entry in read.modules if not entry.ran and entry.parameters]
    # DeepSeek-OCR-2 reads the weights of these, and calls neither.
    assert [name for name in never if "query_" not in name] == []
    assert read.as_written is None


@pytest.mark.parametrize("side", [64, 192])
@pytest.mark.parametrize("length", [3, 200])
def test_stages_are_blocks_however_long_the_text_and_large_the_picture(length: int, side: int):
    model = small.deepseek_ocr2()
    places = small.PLACES["deepseek_ocr2"]
    words = torch.cat([torch.full((1, places), small.PICTURE), torch.full((1, length), 5)], 1)

    read = outline(model, example_input={"input_ids": words, "pixel_values": torch.zeros(1, 3, side, side)})

    assert read.stage_names == ("stem", *(f"block{number}" for number in range(1, 10)), "head")
    assert read.stage_by_parameter["model.language_model.layers.0.self_attn.q_proj.weight"] == "block7"
    assert read.stage_by_parameter["lm_head.weight"] == "head"


@pytest.mark.parametrize("length", [3, 30])
def test_so_are_those_of_an_encoder_and_its_decoder(length: int):
    words = torch.full((1, length), 5)

    read = outline(small.trocr(), example_input={"pixel_values": torch.zeros(1, 3, 32, 32), "decoder_input_ids": words})

    assert read.stage_names == ("stem", "block1", "block2", "block3", "block4", "head")


def test_asking_for_the_places_of_a_picture_leaves_no_trace():
    model = small.deepseek_ocr2().train()
    state = torch.get_rng_state()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}

    outline(model)

    assert torch.equal(torch.get_rng_state(), state)
    assert all(module.training for module in model.modules())
    assert all(torch.equal(buffer, before[name]) for name, buffer in model.named_buffers())
