"""Charts as SVG, to stand in a page: a title and a sentence each for those who do not see them."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from daskimg.timeline import STAGES, Rates
from daskimg.words import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from daskimg.timeline import Span, Timeline

_WIDTH, _HEIGHT = 860, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 12, 10, 34
_LANE = 14  # pixels of a thread's lane
_MOST_SPANS, _MOST_LANES = 2000, 48  # drawn one by one
_BINS, _MOMENTS = 240, 80  # of time: for tasks; for a rate, which is restless


def throughput(timeline: Timeline) -> str:
    """Return images a second over the time of a run."""
    start = min(span.began for span in timeline.spans)
    rates = Rates(max(timeline.seconds / _MOMENTS, 1e-3) * 1.001)
    for span in timeline.spans:
        rates.add(span.samples, span.began - start, span.ended - start)
    points = [(i * rates.width, value) for i, value in enumerate(rates.values())]
    mean = sum(span.samples for span in timeline.spans) / max(timeline.seconds, 1e-6)
    peak = max((value for _, value in points), default=0.0)
    words = f"{mean:,.0f} images a second on average, {peak:,.0f} at most."
    return _steps("Images a second over time", words, points, timeline.seconds)


def tasks(timeline: Timeline) -> str:
    """Return when each task ran, a lane a thread; of very many, how many ran at once."""
    lanes = _lanes(timeline.spans)
    if len(timeline.spans) <= _MOST_SPANS and len(lanes) <= _MOST_LANES:
        return _gantt(timeline, lanes)
    points = _thinned(list(timeline.concurrency()), timeline.seconds)
    most = max(count for _, count in timeline.concurrency())
    words = f"{counted(len(timeline.spans), 'task')}, {most:,} at once at most."
    return _steps("Tasks that ran at once", words, points, timeline.seconds)


def stages(timeline: Timeline) -> str:
    """Return the stages' shares of all tasks' time as one bar."""
    shares = timeline.shares()
    words = ", ".join(f"{stage} {share:.0%}" for stage, share in shares.items()) + "."
    parts, at = [], 0.0
    for number, (stage, share) in enumerate(shares.items()):
        width = share * _WIDTH
        parts.append(
            f'<rect class="stage{number}" x="{at:.1f}" y="0" width="{width:.1f}" height="30">'
            f"<title>{stage} {share:.1%}</title></rect>"
        )
        at += width
    return _svg("Time of tasks by stage", words, 30, parts)


def legend() -> str:
    """Return what the colours of ``stages`` mean; the numbers are in a table below."""
    keys = (f'<li><span class="key stage{i}"></span>{s}</li>' for i, s in enumerate(STAGES))
    return f'<ul class="legend" aria-hidden="true">{"".join(keys)}</ul>'


def _svg(title: str, words: str, height: float, parts: Iterable[str]) -> str:
    name = "".join(letter for letter in title.lower() if letter.isalpha())
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(title)}">'
        f'<svg viewBox="0 0 {_WIDTH} {height:.0f}" role="img" aria-labelledby="{name}t" '
        f'aria-describedby="{name}d"><title id="{name}t">{escape(title)}</title>'
        f'{"".join(parts)}</svg></div><p id="{name}d">{escape(words)}</p>'
    )


def _steps(title: str, words: str, points: Sequence[tuple[float, float]], seconds: float) -> str:
    """Return a line that keeps each point's height until the next one, and what is below it."""
    high = max((value for _, value in points), default=0.0) or 1.0
    bottom, width = _HEIGHT - _BOTTOM, _WIDTH - _LEFT - _RIGHT
    scale = (bottom - _TOP) / high
    turns = [f"M{_LEFT},{bottom}"]
    for at, value in points:
        turns.append(f"H{_LEFT + width * min(1.0, at / seconds):.1f}V{bottom - value * scale:.1f}")
    turns.append(f"H{_LEFT + width}V{bottom}Z")
    parts = [
        f'<path class="area" d="{"".join(turns)}"/>',
        *_rules(high, lambda value: bottom - value * scale),
        *_seconds(seconds, bottom),
    ]
    return _svg(title, words, _HEIGHT, parts)


def _rules(high: float, place: Callable[[float], float]) -> Iterator[str]:
    """Yield lines at round heights, with their numbers."""
    step = max(1.0, _round_step(high / 4))
    value = 0.0
    while value <= high:
        y = place(value)
        yield f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
        yield f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:,.10g}</text>'
        value += step


def _seconds(seconds: float, bottom: float) -> Iterator[str]:
    """Yield the axis of time."""
    width = _WIDTH - _LEFT - _RIGHT
    step = _round_step(seconds / 6)
    at = 0.0
    while at <= seconds:
        x = _LEFT + width * at / seconds
        yield f'<text x="{x:.1f}" y="{bottom + 16:.1f}" text-anchor="middle">{at:,.10g}</text>'
        at += step
    middle = _LEFT + width / 2
    yield f'<text x="{middle}" y="{bottom + 31:.1f}" text-anchor="middle">seconds</text>'


def _round_step(about: float) -> float:
    """Return 1, 2, 2.5 or 5 times a power of ten, no less than what is given.

    >>> _round_step(3.2), _round_step(0.9), _round_step(170)
    (5.0, 1.0, 200.0)
    """
    power = 10.0 ** len(str(int(about))) / 10 if about >= 1 else 1.0
    while power > about > 0:
        power /= 10
    return next(times * power for times in (1, 2, 2.5, 5, 10, 20) if times * power >= about)


def _lanes(spans: Sequence[Span]) -> list[tuple[str, list[Span]]]:
    """Return the tasks of each thread: a worker has as many lanes as tasks at once."""
    lanes: dict[str, list[list[Span]]] = {}
    for span in sorted(spans, key=lambda span: span.began):
        mine = lanes.setdefault(span.worker, [])
        free = next((lane for lane in mine if lane[-1].ended <= span.began), None)
        if free is None:
            mine.append([span])
        else:
            free.append(span)
    return [(worker, lane) for worker in sorted(lanes) for lane in lanes[worker]]


def _gantt(timeline: Timeline, lanes: list[tuple[str, list[Span]]]) -> str:
    start, seconds = min(span.began for span in timeline.spans), timeline.seconds
    width, height = _WIDTH - _LEFT - _RIGHT, _TOP + _LANE * len(lanes)
    parts, before = [], ""
    for number, (worker, spans) in enumerate(lanes):
        y = _TOP + number * _LANE
        if worker != before:
            parts.append(
                f'<text x="{_LEFT - 8}" y="{y + 11}" text-anchor="end">{_name(worker)}</text>'
            )
            before = worker
        for span in spans:
            x = _LEFT + width * (span.began - start) / seconds
            wide = max(1.0, width * (span.ended - span.began) / seconds - 0.7)
            parts.append(
                f'<rect class="task" x="{x:.1f}" y="{y}" width="{wide:.1f}" height="{_LANE - 2}">'
                f"<title>shard {span.shard:,}: {span.ended - span.began:.2f} s</title></rect>"
            )
    parts += _seconds(seconds, height)
    workers = len({worker for worker, _ in lanes})
    words = (
        f"{counted(len(timeline.spans), 'task')} on {counted(workers, 'worker')}, "
        f"{counted(len(lanes), 'thread')} at once at most."
    )
    return _svg("Tasks over time, by worker", words, height + _BOTTOM, parts)


def _name(worker: str) -> str:
    short = worker if len(worker) <= 8 else f"…{worker[-7:]}"
    return escape(short)


def _thinned(points: list[tuple[float, int]], seconds: float) -> list[tuple[float, float]]:
    """Return the most of each of some equal times: a point for each is more than can be seen."""
    found: dict[int, int] = {}
    for at, count in points:
        place = int(_BINS * at / seconds) if seconds else 0
        found[place] = max(found.get(place, 0), count)
        found[place + 1] = count  # until something changes there
    return [(place * seconds / _BINS, count) for place, count in sorted(found.items())]
