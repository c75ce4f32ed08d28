"""daskimg's page among those of Dask's dashboard: what a run does, drawn from its board.

Only here is bokeh used. A page costs nothing while nobody looks at it.
"""

from __future__ import annotations

import math
from base64 import b64encode
from functools import partial
from html import escape
from typing import TYPE_CHECKING, Any

from bokeh.layouts import column, row
from bokeh.models import AdaptiveTicker, ColumnDataSource, HoverTool, NumeralTickFormatter
from bokeh.models.widgets import Div
from bokeh.plotting import figure
from bokeh.server.tornado import BokehTornado
from distributed.dashboard.components import add_periodic_callback
from distributed.dashboard.components.scheduler import BOKEH_THEME, env
from distributed.dashboard.core import BokehApplication
from distributed.dashboard.scheduler import template_variables
from tornado.ioloop import IOLoop

from daskimg.build._board import DONE, FAILED, PENDING, RUNNING
from daskimg.timeline import STAGES
from daskimg.words import counted, megabytes

if TYPE_CHECKING:
    from bokeh.document import Document
    from bokeh.models import LayoutDOM
    from distributed import Scheduler

    from daskimg.build._board import Board, Thumbnail
    from daskimg.build._watch import Watch

NAME = "daskimg"
_EVERY = 1000  # milliseconds between two looks at the board
_CELLS = 2048  # on the map: of more shards, several share one
_STATES = {PENDING: "pending", RUNNING: "running", DONE: "done", FAILED: "failed"}
_COLOURS = {PENDING: "#d5d8dc", RUNNING: "#e69f00", DONE: "#1b7f5f", FAILED: "#b3261e"}
_INK, _BLUE = "#1f2933", "#2f6f9f"
_REASONS = 8


def open_page(watch: Watch, scheduler: Scheduler) -> bool:
    """Add the page to a scheduler's dashboard, and a tab to all its pages; false without one."""
    dashboard = next(filter(_is_dashboard, scheduler.http_application.applications), None)
    if dashboard is None:
        return False
    shared = template_variables(scheduler)
    if NAME not in shared["pages"]:
        shared["pages"].insert(1, NAME)
    pages = {f"/{NAME}": partial(page, watch)}
    application = BokehApplication(
        pages, scheduler, prefix=dashboard.prefix, template_variables=shared
    )
    scheduler.http_application.add_application(application)
    application.initialize(IOLoop.current())
    application.start()
    return True


def _is_dashboard(application: object) -> bool:
    return isinstance(application, BokehTornado)


def page(watch: Watch, scheduler: Scheduler, extra: dict[str, Any], doc: Document) -> None:  # noqa: ARG001
    """Fill a document for one onlooker."""
    drawn = Page(watch)
    drawn.update()
    doc.title = "daskimg"
    doc.add_root(drawn.root)
    add_periodic_callback(doc, drawn, _EVERY)
    doc.template = env.get_template("simple.html")
    doc.template_variables.update(extra)
    doc.theme = BOKEH_THEME


class Page:
    """The page's models, brought up to date from the board of the run that began last."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._shown: tuple[Thumbnail, ...] | None = None
        self.head = Div(sizing_mode="stretch_width", name="head")
        self.sheet = Div(sizing_mode="stretch_width", name="sheet")
        self.rates = ColumnDataSource({"second": [], "rate": []}, name="rates")
        self.shards = ColumnDataSource(
            {"x": [], "y": [], "colour": [], "state": [], "shard": []}, name="shards"
        )
        self.stages = ColumnDataSource(_bars({}), name="stages")
        self.reasons = ColumnDataSource(_bars({}), name="reasons")
        self._map = _shard_map(self.shards)
        self._reasons = _bar_figure(self.reasons, "Failures by reason", _COLOURS[FAILED], "0,0")
        self._stages = _bar_figure(self.stages, "Time of tasks by stage", _BLUE, "0 %")
        self.root: LayoutDOM = column(
            self.head,
            _wrapped(_rate_figure(self.rates), self._map),
            _wrapped(self._stages, self._reasons),
            self.sheet,
            sizing_mode="stretch_width",
        )

    def update(self) -> None:
        """Draw what is new."""
        board = self._watch.board
        self.head.text = _head(board)
        if board is None:
            return
        rates = board.rates.values()
        known = [
            rate for i, rate in enumerate(rates) if (i + 1) * board.rates.width <= board.settled
        ]
        rates = known or rates
        self.rates.data = {
            "second": [(i + 0.5) * board.rates.width for i in range(len(rates))],
            "rate": rates,
        }
        cells = _cells(board)
        if cells["state"] != self.shards.data["state"]:
            self.shards.data = cells
            self._map.title.text = _map_title(board)
        total = sum(board.stages.values()) or 1.0
        self._show(self._stages, self.stages, {s: board.stages[s] / total for s in STAGES})
        self._show(self._reasons, self.reasons, dict(board.reasons.most_common(_REASONS)))
        pictures = tuple(board.pictures)
        if pictures != self._shown:
            self._shown = pictures
            self.sheet.text = _sheet(pictures)

    def _show(self, place: Any, source: ColumnDataSource, lengths: dict[str, float]) -> None:
        names = list(reversed(lengths))
        if place.y_range.factors != names:
            place.y_range.factors = names
        source.data = _bars(lengths)


def _bars(lengths: dict[str, float]) -> Any:
    return {"name": list(lengths), "length": list(lengths.values())}


def _wrapped(*figures: LayoutDOM) -> LayoutDOM:
    """Return figures beside each other, or below where there is no room."""
    return row(*figures, sizing_mode="stretch_width", styles={"flex-wrap": "wrap"})


def _figure(title: str, **options: Any) -> Any:
    draw: Any = figure  # its options are not in its signature
    made = draw(
        title=title, height=250, min_width=320, sizing_mode="stretch_width", toolbar_location=None,
        tools="", **options,
    )  # fmt: skip
    made.title.text_color = _INK
    made.title.text_font_size = "14px"
    made.grid.grid_line_color = "#e4e7eb"
    made.outline_line_color = None
    made.axis.minor_tick_line_color = None
    return made


def _rate_figure(source: ColumnDataSource) -> Any:
    made = _figure("Images a second", x_axis_label="seconds since the run began")
    made.varea("second", 0, "rate", source=source, fill_color=_BLUE, fill_alpha=0.25)
    made.line("second", "rate", source=source, line_color=_BLUE, line_width=2)
    made.y_range.start = 0
    made.x_range.start = 0
    made.yaxis.formatter = NumeralTickFormatter(format="0,0")
    made.add_tools(HoverTool(tooltips=[("second", "@second{0.0}"), ("images/s", "@rate{0,0}")]))
    return made


def _shard_map(source: ColumnDataSource) -> Any:
    made = _figure("Shards", match_aspect=False)
    made.rect("x", "y", 0.86, 0.86, source=source, fill_color="colour", line_color=None)
    made.axis.visible = False
    made.grid.visible = False
    made.y_range.flipped = True
    made.add_tools(HoverTool(tooltips=[("shard", "@shard"), ("", "@state")]))
    return made


def _bar_figure(source: ColumnDataSource, title: str, colour: str, form: str) -> Any:
    made = _figure(title, y_range=[])
    made.hbar(
        "name", right="length", height=0.7, source=source, fill_color=colour, line_color=None
    )
    made.x_range.start = 0
    made.ygrid.visible = False
    made.xaxis.formatter = NumeralTickFormatter(format=form)
    made.xaxis.ticker = AdaptiveTicker(min_interval=0 if "%" in form else 1)
    made.yaxis.major_label_text_font_size = "12px"
    made.add_tools(HoverTool(tooltips=[("", "@name"), ("", f"@length{{{form}}}")]))
    return made


def _cells(board: Board) -> Any:
    """Return the map: a cell a shard, or for several; row by row, three times as wide as high."""
    each = max(1, math.ceil(board.shards / _CELLS))
    states = [_state(board.states[i : i + each]) for i in range(0, board.shards, each)]
    across = max(1, math.ceil(math.sqrt(3 * len(states))))
    return {
        "x": [i % across for i in range(len(states))],
        "y": [i // across for i in range(len(states))],
        "colour": [_COLOURS[state] for state in states],
        "state": [_STATES[state] for state in states],
        "shard": [_span(i * each, min((i + 1) * each, board.shards)) for i in range(len(states))],
    }


def _state(states: bytearray) -> int:
    """Return what is said of several shards: the worst of them; done, if they all are."""
    for state in (FAILED, RUNNING, PENDING):
        if state in states:
            return state
    return DONE


def _span(first: int, stop: int) -> str:
    return f"{first:,}" if stop - first == 1 else f"{first:,} to {stop - 1:,}"


def _map_title(board: Board) -> str:
    counts = ", ".join(f"{board.count(state):,} {name}" for state, name in _STATES.items())
    return f"Shards: {counts}"


def _head(board: Board | None) -> str:
    if board is None:
        return "<p>No run has begun on this scheduler.</p>"
    share = board.done / board.samples if board.samples else 1.0
    counts = [
        f"<b>{board.done:,}</b> of {counted(board.samples, 'image')} ({share:.0%})",
        f"<b>{board.rate:,.0f}</b> images/s",
        f"<b>{board.failed:,}</b> failed",
        f"{megabytes(board.source_bytes)} read, {megabytes(board.stored_bytes)} written",
        board.outcome or _left(board),
    ]
    joined = " &nbsp;·&nbsp; ".join(part for part in counts if part)
    return (
        f"<div style='font:16px sans-serif;color:{_INK};line-height:1.6;margin-top:8px'>"
        f"<span style='overflow-wrap:anywhere'>{escape(board.url)}</span><br/>{joined}</div>"
    )


def _left(board: Board) -> str:
    if not board.rate:
        return "running"
    seconds = round((board.samples - board.done) / board.rate)
    return f"about {seconds // 60}:{seconds % 60:02d} left"


def _sheet(pictures: tuple[Thumbnail, ...]) -> str:
    if not pictures:
        return ""
    shown = "".join(map(_picture, pictures))
    return (
        f"<div style='font:bold 14px sans-serif;color:{_INK}'>Just written</div>"
        f"<div style='display:flex;flex-wrap:wrap;gap:8px'>{shown}</div>"
    )


def _picture(picture: Thumbnail) -> str:
    source = b64encode(picture.content).decode()
    words = escape(picture.caption)
    return (
        f"<figure style='margin:0'><img src='data:image/jpeg;base64,{source}' alt='{words}' "
        f"style='display:block;width:96px;height:96px;object-fit:contain;background:#eceff1'/>"
        f"<figcaption style='font:12px sans-serif;color:{_INK}'>{words}</figcaption></figure>"
    )
