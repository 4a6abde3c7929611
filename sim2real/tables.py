"""Tables as lines of text."""

from collections.abc import Sequence


def aligned(rows: Sequence[tuple[str, ...]], left: int = 1) -> list[str]:
    """Rows as lines, the first columns flush left and the others flush right.

    Args:
        rows: cells, as many in each.
        left: how many columns are flush left.
    """
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  ".join(
            cell.ljust(width) if i < left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
