"""A plot of CPU per request as SVG: two panels of bars on a logarithmic scale."""

from collections.abc import Iterator
from math import log10

from tests.bench.report import US, Results

PANELS = (("whole", "whole reply"), ("streamed-20", "streamed reply, 20 events"))
OWN = ("bare-asgi", "bare-transport")
WIDTH, LEFT, PANEL, ROW, TOP = 900, 130, 360, 22, 58
LOW, HIGH = 10.0, 40000.0
STYLE = "font-family: system-ui, sans-serif; font-size: 12px"


def scaled(value: float) -> float:
    """Pixels from the left end of a panel."""
    return (log10(max(value, LOW)) - log10(LOW)) / (log10(HIGH) - log10(LOW)) * (PANEL - 60)


def panel(results: Results, names: list[str], load: str, title: str, left: int) -> Iterator[str]:
    yield f'<text x="{left}" y="{TOP - 26}" font-weight="bold">{title}</text>'
    for power in range(1, 5):
        x = left + scaled(10**power)
        yield f'<line x1="{x:.0f}" y1="{TOP - 8}" x2="{x:.0f}" y2="{TOP + ROW * len(names)}" stroke="#ddd"/>'
        yield f'<text x="{x:.0f}" y="{TOP - 11}" fill="#777" text-anchor="middle">{10**power:,}</text>'
    for place, name in enumerate(names):
        value = results.of(name, load)
        if value is None:
            continue
        y, width = TOP + ROW * place, scaled(value)
        color = "#c2410c" if name == US else "#fdba74" if name in OWN else "#94a3b8"
        yield f'<rect x="{left}" y="{y}" width="{width:.0f}" height="{ROW - 6}" fill="{color}"/>'
        yield f'<text x="{left + width + 5:.0f}" y="{y + 12}">{value:,.0f}</text>'


def plot(results: Results) -> str:
    """The picture: one row for each contestant, the cheapest on top."""
    names = [name for name in results.contestants() if results.of(name, "whole") and name != "mock"]
    height = TOP + ROW * len(names) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" style="{STYLE}" fill="#111">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        '<text x="10" y="16" fill="#555">CPU microseconds per request of the whole process tree, logarithmic</text>',
    ]
    for place, name in enumerate(names):
        weight = ' font-weight="bold"' if name == US else ""
        parts.append(f'<text x="{LEFT - 8}" y="{TOP + ROW * place + 12}" text-anchor="end"{weight}>{name}</text>')
    for number, (load, title) in enumerate(PANELS):
        parts += panel(results, names, load, title, LEFT + number * (PANEL + 20))
    return "\n".join([*parts, "</svg>\n"])
