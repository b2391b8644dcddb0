"""A strict reader of HTML for the tests: every element closed in order, everything that points somewhere collected."""

from html.parser import HTMLParser

INLINE = {"a", "b", "bdi", "code", "em", "span", "use", "wbr"}
VOID = {"meta", "link", "br", "img", "input", "hr", "wbr"}
POINTING = {"src", "srcset", "href", "xlink:href", "data", "action", "formaction", "poster", "background", "ping"}


class Page(HTMLParser):
    """What a page holds: elements with attributes, text outside style sheets, style sheets, and where it points."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.styles: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"<{tag}> has an attribute twice: {names}"
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        self._part(tag)
        if tag not in VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self._open, f"</{tag}> closes nothing"
        assert self._open[-1] == tag, f"</{tag}> closes <{self._open[-1]}>"
        self._open.pop()
        self._part(tag)

    def _part(self, tag: str) -> None:
        if tag not in INLINE:
            self.words.append(" ")

    def handle_data(self, data: str) -> None:
        (self.styles if self._open and self._open[-1] == "style" else self.words).append(data)

    @property
    def text(self) -> str:
        """All text, with white space as one blank."""
        return " ".join("".join(self.words).split())

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    @property
    def ids(self) -> list[str]:
        return [attributes["id"] for _, attributes in self.elements if "id" in attributes]

    @property
    def points(self) -> list[str]:
        """Everything that an element points to."""
        return [value for _, attributes in self.elements for name, value in attributes.items() if name in POINTING]

    def all(self, *, css_class: str) -> list[dict[str, str]]:
        """The attributes of every element of a class."""
        return [attributes for _, attributes in self.elements if css_class in attributes.get("class", "").split()]
