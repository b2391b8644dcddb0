"""Sizes as people write them."""

import pytest

from frostline.errors import StoreError
from frostline.replaying.store.sizes import parse_size, show_size


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("20GB", 20_000_000_000),
        ("512MB", 512_000_000),
        (" 1.5 gb ", 1_500_000_000),
        ("7B", 7),
        ("3kB", 3000),
        (".5TB", 5 * 10**11),
        ("0B", 0),
        ("0.1TB", 10**11),
        ("1000000TB", 10**18),
    ],
)
def test_a_size_is_read_in_decimal_units(text, size_bytes):
    assert parse_size(text) == size_bytes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("20", "a number without a unit"),
        ("20GiB", "no unit GiB"),
        ("GB", "no number"),
        ("-3GB", "no number from 0 on"),
        ("1,5GB", "no number"),
        ("", "no number"),
        ("1000001TB", "more than any disk has"),
        ("9" * 32 + "B", "more than any disk has"),
    ],
)
def test_what_is_no_size_says_what_is_wrong(text, says):
    with pytest.raises(StoreError, match=says) as caught:
        parse_size(text)
    assert f"size {text[:32]}" in str(caught.value)
    assert str(caught.value).endswith("such as 20GB")


def test_a_number_beyond_all_numbers_is_no_size():
    with pytest.raises(StoreError, match="more than any disk has") as caught:
        parse_size("9" * 400 + "GB")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1.0 kB"),
        (99_960, "100 kB"),
        (999_600, "1.0 MB"),
        (20_000_000_000, "20.0 GB"),
        (5 * 10**15, "5000 TB"),
    ],
)
def test_a_size_is_shown_short(size_bytes, text):
    assert show_size(size_bytes) == text
