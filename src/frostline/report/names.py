"""Names of files as a page can show them: without the folder that they share, and never too long for a card."""

import re
from collections.abc import Sequence
from itertools import takewhile

# A folder of a drive or of the root, and not the root alone, which is nothing worth telling.
ABSOLUTE = re.compile(r"(?:[A-Za-z]:)?[/\\].+[/\\]$", re.DOTALL)
# A piece of a name: up to an underscore, up to so many letters, or white space.
WORD = re.compile(r"[^\s_]{1,15}_|[^\s_]{1,16}|_|\s+")
BEHIND_A_SEPARATOR = re.compile(r"(?<=[/\\])")


def common_folder(names: Sequence[str]) -> str:
    r"""Give the folder in which all the files lie, with its last separator; nothing where no absolute one is shared.

    >>> common_folder(["/photos/cat/1.jpg", "/photos/car/1.jpg"]), common_folder([r"C:\cat\1.jpg"])
    ('/photos/', 'C:\\cat\\')
    >>> common_folder(["digits[1]", "digits[2]"])
    ''
    """
    folders = [pieces(name)[:-1] for name in names]
    shared = takewhile(lambda level: len(set(level)) == 1, zip(*folders, strict=False))
    folder = "".join(level[0] for level in shared)
    return folder if ABSOLUTE.match(folder) else ""


def pieces(name: str) -> tuple[str, ...]:
    """Split a name behind each separator: a line may end there.

    >>> pieces("cat/1.jpg")
    ('cat/', '1.jpg')
    """
    return tuple(BEHIND_A_SEPARATOR.split(name))


def breakable(name: str) -> list[str]:
    """Split a name behind each underscore, and what is long: a line may end there.

    >>> breakable("freeze_through_stem"), breakable("two words"), breakable("x" * 20)
    (['freeze_', 'through_', 'stem'], ['two words'], ['xxxxxxxxxxxxxxxx', 'xxxx'])
    """
    pieces: list[str] = []
    for word in WORD.findall(name):
        # At white space a line may end as it is.
        if (pieces and word[0].isspace()) or (pieces and pieces[-1][-1].isspace()):
            pieces[-1] += word
        else:
            pieces.append(word)
    return pieces


def shortened_name(name: str, *, most: int) -> str:
    """Leave out the middle of a long name: its end tells files apart.

    Args:
        name: of a file or a class.
        most: how many letters there may be.

    >>> shortened_name("a-picture-of-a-cat-0001.jpg", most=15)
    'a-pi…t-0001.jpg'
    """
    if len(name) <= most:
        return name
    start = (most - 1) * 3 // 10
    return f"{name[:start]}…{name[len(name) - (most - 1 - start) :]}"
