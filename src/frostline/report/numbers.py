"""Numbers as a person reads them."""

import math
from collections.abc import Callable
from datetime import UTC, datetime

# Writes a number, or says that there is none.
Say = Callable[[float | None], str]

NONE = "–"


def count(number: int) -> str:
    """Say a count with three digits that matter; below ten thousand it is exact.

    >>> [count(number) for number in (864, 5_130, 12_345, 999_960, 2_223_872, 1_200_000, 7_000_000_000)]
    ['864', '5,130', '12.3 k', '1 M', '2.22 M', '1.2 M', '7 G']
    """
    if abs(number) < 10_000:
        return f"{number:,}"
    power = next((power for power in (1, 2, 3) if abs(number) / 1000**power < 999.5), 4)
    scaled = number / 1000**power
    text = f"{scaled:.{max(0, 2 - math.floor(math.log10(abs(scaled))))}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} {' kMGT'[power]}"


def exact(number: int | None) -> str:
    """Say a count in full.

    >>> exact(2_223_872), exact(None)
    ('2,223,872', '–')
    """
    return NONE if number is None else f"{number:,}"


def share(value: float | None) -> str:
    """Say a metric with three decimals; what is not 0 or 1 never looks like it.

    >>> [share(value) for value in (0.93412, 1, 0.99997, 0.00001, 12.5, None, float("nan"))]
    ['0.934', '1.000', '>0.999', '<0.001', '12.500', '–', 'NaN']
    """
    if value is None or not math.isfinite(value):
        return odd(value)
    text = f"{value:.3f}"
    if value < 1 and text == "1.000":
        return ">0.999"
    if value > 0 and text == "0.000":
        return "<0.001"
    return text


def rates(found: tuple[float, float] | None) -> str:
    """Say the lowest and the highest learning rate of a stage; once where they are one.

    >>> rates((1e-5, 1e-3)), rates((0.1, 0.1)), rates(None)
    ('1e-05 … 0.001', '0.1', '–')
    """
    return NONE if found is None else " … ".join(dict.fromkeys(f"{rate:.3g}" for rate in found))


def signed(value: float | None) -> str:
    """Say a difference with its sign and three decimals.

    >>> signed(0.0121), signed(-0.131), signed(None)
    ('+0.012', '−0.131', '–')
    """
    return odd(value) if value is None or not math.isfinite(value) else f"{value:+.3f}".replace("-", "−")


def whole(value: float | None) -> str:
    """Say a number without decimals.

    >>> whole(2.6), whole(None)
    ('3', '–')
    """
    return odd(value) if value is None or not math.isfinite(value) else f"{value:.0f}"


def percent(part: float, whole: float) -> str:
    """Say a part of a whole; what is not 0 or 100 never looks like it.

    >>> percent(1, 3), percent(99_999, 100_000), percent(1, 100_000), percent(0, 0)
    ('33.3 %', '>99.9 %', '<0.1 %', '–')
    """
    if not whole:
        return NONE
    text = f"{100 * part / whole:.1f} %"
    if text == "100.0 %":
        return "100 %" if part >= whole else ">99.9 %"
    if text == "0.0 %":
        return "0 %" if part <= 0 else "<0.1 %"
    return text


def loss(value: float | None) -> str:
    """Say a loss or a rate with four digits that matter.

    >>> loss(0.312345), loss(2.30259), loss(1e-5), loss(None)
    ('0.3123', '2.303', '1e-05', '–')
    """
    return odd(value) if value is None or not math.isfinite(value) else f"{value:.4g}"


def perplexity(value: float) -> float:
    """Say among how many words a network is in doubt whose mean loss a word is this.

    >>> round(perplexity(math.log(50))), perplexity(1e4)
    (50, inf)
    """
    try:
        return math.exp(value)
    except OverflowError:
        return math.inf


def odd(value: float | None) -> str:
    """Say what is no number.

    >>> odd(None), odd(float("nan")), odd(float("-inf"))
    ('–', 'NaN', '−∞')
    """
    if value is None:
        return NONE
    return "NaN" if math.isnan(value) else "∞" if value > 0 else "−∞"


def duration(seconds: float | None) -> str:
    """Say a time in the two largest units that it has.

    >>> [duration(seconds) for seconds in (0, 0.004, 0.42, 12.34, 59.96, 80, 7_500, 100_000)]
    ['0 s', '4 ms', '0.42 s', '12.3 s', '1 min 0 s', '1 min 20 s', '2 h 5 min', '1 d 4 h']
    """
    if seconds is None or not math.isfinite(seconds):
        return odd(seconds)
    if seconds < 59.95:
        if seconds < 0.0995:
            return f"{1000 * seconds:.0f} ms" if seconds >= 0.0005 else "0 s" if seconds <= 0 else "<1 ms"
        return f"{seconds:.1f} s" if seconds >= 0.995 else f"{seconds:.2f} s"
    if round(seconds) < 3_600:
        return "{} min {} s".format(*divmod(round(seconds), 60))
    if round(seconds / 60) < 24 * 60:
        return "{} h {} min".format(*divmod(round(seconds / 60), 60))
    return "{} d {} h".format(*divmod(round(seconds / 3_600), 24))


def milliseconds(seconds: float | None) -> str:
    """Say a short time with three digits that matter.

    >>> milliseconds(0.00831), milliseconds(0.0000204), milliseconds(1.5), milliseconds(None)
    ('8.31 ms', '0.0204 ms', '1500 ms', '–')
    """
    if seconds is None or not math.isfinite(seconds):
        return odd(seconds)
    digits = 0 if seconds <= 0 else max(0, 2 - math.floor(math.log10(1000 * seconds)))
    return f"{1000 * seconds:.{digits}f} ms"


def memory(mebibytes: float) -> str:
    """Say an amount of memory.

    >>> memory(812.4), memory(1_450), memory(144_000)
    ('812 MiB', '1.42 GiB', '141 GiB')
    """
    if not math.isfinite(mebibytes):
        return odd(mebibytes)
    if mebibytes < 1023.5:
        return f"{mebibytes:.0f} MiB"
    return f"{mebibytes / 1024:.{2 if mebibytes < 10_240 else 1 if mebibytes < 102_400 else 0}f} GiB"


def moment(written: str) -> str:
    """Say an ISO date as a person writes it; anything else stays as it is.

    >>> moment("2025-11-21T03:45:10+00:00"), moment("yesterday")
    ('21 November 2025, 03:45 UTC', 'yesterday')
    """
    try:
        when = datetime.fromisoformat(written)
    except ValueError:
        return written
    zone = "" if when.tzinfo is None else " UTC" if when.utcoffset() == UTC.utcoffset(None) else f" {when:%z}"
    return f"{when.day} {when:%B %Y, %H:%M}{zone}"
