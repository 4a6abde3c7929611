"""Small pieces of HTML. Whatever is not already `Html` is escaped."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from html import escape
from xml.etree import ElementTree

from regrasp.errors import InputError

DRAWN = {
    *("svg", "g", "defs", "use", "clipPath", "path", "rect", "circle", "line"),
    *("polyline", "polygon", "text", "tspan"),
}
"""What a drawing may consist of: nothing that runs, links or loads."""
INHERITED = {"width", "height", "id", "version"}
"""What the page decides for a drawing as a whole."""


class Html(str):
    """Text that is HTML already."""


def text(value: object) -> Html:
    """Any value as HTML."""
    return value if isinstance(value, Html) else Html(escape(str(value)))


def tag(name: str, *inner: object, **attributes: object) -> Html:
    """An element. Attribute names may end in an underscore, as `class_` has to."""
    given = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
    )
    return Html(f"<{name}{given}>{join(inner)}</{name}>")


def join(parts: Iterable[object]) -> Html:
    """One piece after the other."""
    return Html("".join(text(part) for part in parts))


def table(head: Sequence[object], rows: Iterable[Sequence[object]], numeric: Iterable[int]) -> Html:
    """A table.

    Args:
        head: the columns' names; empty for none.
        rows: their cells.
        numeric: places of the columns that are flush right.
    """
    right = set(numeric)

    def line(cell: str, cells: Sequence[object]) -> Html:
        sides = ({"class_": "number"} if i in right else {} for i in range(len(cells)))
        return tag("tr", *(tag(cell, c, **side) for c, side in zip(cells, sides, strict=True)))

    body = (line("td", row) for row in rows)
    names = tag("thead", line("th", head)) if head else ""
    inner = tag("table", names, tag("tbody", *body))
    return tag("div", inner, class_="scroll")


def figure(inner: object, caption: object = "") -> Html:
    """A drawing or film with words below it."""
    return tag("figure", inner, tag("figcaption", caption) if caption else "")


def drawing(svg: bytes, name: str, alt: str) -> Html:
    """An SVG as an element of the page.

    Args:
        svg: the file.
        name: unique on the page; the drawing's own names are put behind it.
        alt: what it shows, in words.

    Raises:
        InputError: it is not SVG.
    """
    try:
        root = ElementTree.fromstring(svg)
    except ElementTree.ParseError as error:
        raise InputError(f"drawing {name} is not SVG: {error}; make it again") from None
    if _local(root.tag) != "svg":
        raise InputError(f"drawing {name} is not SVG but {_local(root.tag)}; make it again")
    for key in INHERITED & set(root.attrib):
        del root.attrib[key]
    root.attrib |= {"role": "img", "aria-label": alt}
    return Html(_element(root, name))


def video(data: bytes, label: str) -> Html:
    """A silent film, held by the page itself."""
    source = f"data:video/mp4;base64,{b64encode(data).decode()}"
    return Html(
        f'<video controls muted loop playsinline preload="auto" '
        f'aria-label="{escape(label)}" src="{source}"></video>'
    )


def _element(node: ElementTree.Element, name: str) -> str:
    tag_name = _local(node.tag)
    if tag_name not in DRAWN:
        return ""
    words = tag_name in ("text", "tspan")
    inner = escape(node.text or "") if words else ""
    for child in node:
        inner += _element(child, name) + (escape(child.tail or "") if words else "")
    return f"<{tag_name}{_attributes(node, name)}>{inner}</{tag_name}>"


def _attributes(node: ElementTree.Element, name: str) -> str:
    """The attributes that are harmless, with references turned to the drawing's own names."""
    kept = ""
    for key, value in node.attrib.items():
        key = _local(key)
        if key == "href":
            value = f"#{name}-{value[1:]}" if value.startswith("#") else "#"
        elif key == "id":
            value = f"{name}-{value}"
        loads = "url(" in value.replace("url(#", "") or "//" in value or "\\" in value
        if loads or key.startswith("on") or key == "src":
            continue
        value = value.replace("url(#", f"url(#{name}-")
        kept += f' {key}="{escape(value)}"'
    return kept


def _local(name: str) -> str:
    return name.rpartition("}")[2]
