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
    ],
)
def test_what_is_no_size_says_what_is_wrong(text, says):
    with pytest.raises(StoreError, match=says) as caught:
        parse_size(text)
    assert f"size {text}: " in str(caught.value)
    assert str(caught.value).endswith("such as 20GB")


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
