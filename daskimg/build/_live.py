"""A run's progress in a notebook: one line that is drawn anew, without a widget library."""

from __future__ import annotations

import sys
import time
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client

    from daskimg.build._report import Tally

_REDRAWN = 0.2  # seconds


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook."""
    ipython = sys.modules.get("IPython")  # never imported for this
    shell = ipython.get_ipython() if ipython is not None else None
    return getattr(shell, "kernel", None) is not None


class Live:
    """A bar below the cell, with what is done, images/s, failures and the time left."""

    def __init__(self) -> None:
        self._link = ""
        self._shown: Any = None
        self._last = 0.0

    def begin(self, client: Client) -> None:
        """Take note of the dashboard: its address stands beside the bar."""
        self._link = client.dashboard_link or ""

    def __call__(self, tally: Tally) -> None:
        """Draw the bar anew, if the last time is long enough ago or it is the last one."""
        now = time.monotonic()
        if now - self._last < _REDRAWN and tally.done < tally.total:
            return
        self._last = now
        from IPython.display import HTML, display

        page = HTML(self.page(tally))
        if self._shown is None:
            self._shown = display(page, display_id=True)
        else:
            self._shown.update(page)

    def page(self, tally: Tally) -> str:
        """Return the bar as HTML."""
        rate = tally.images_per_second
        words = [f"{tally.done:,} of {tally.total:,} samples", f"{rate:,.0f} images/s"]
        if tally.failed:
            words.append(f"{tally.failed:,} failed")
        if tally.done < tally.total and rate:
            words.append(f"{(tally.total - tally.done) / rate:,.0f} s left")
        link = f"<a href='{escape(self._link, quote=True)}'>dashboard</a>" if self._link else ""
        bar = f"<progress value='{tally.done}' max='{tally.total}' aria-label='samples built' "
        style = "style='width:240px;vertical-align:middle'></progress>"
        return f"<div>{bar}{style} {', '.join(words)} {link}</div>"
