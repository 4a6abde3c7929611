"""Looking into a simulation from a browser: while it runs, at any kept moment, and at many futures of one.

`Show` is what is shown, without a page; `Page` puts it into a browser.
"""

from regrasp.view.config import ViewConfig
from regrasp.view.show import Show

__all__ = ["Show", "ViewConfig"]
