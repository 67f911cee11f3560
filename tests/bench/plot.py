"""The plot: one group of bars for each piece of work, one bar for each peer, as SVG.  Bars are logarithms of ratios, from the line at 1."""
import math
from html import escape

COLOURS = ["#1b6ca8", "#e08e0b", "#3a9d5d", "#b5403a", "#7d5ba6", "#6b6f76", "#c2699b", "#8a7a3c"]
BAR, GAP, LEFT, WIDTH, RIGHT, TOP = 11, 12, 400, 560, 60, 78


def rect(x, y, width, height, colour):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="{colour}"/>'


def text(x, y, content, extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}"{extra}>{escape(content)}</text>'


def grid(low, high, x, height):
    out = []
    for power in range(low, high + 1):
        at, colour = x(2.0 ** power), "#000000" if power == 0 else "#d8d8d8"
        out += [f'<line x1="{at:.1f}" y1="{TOP - 8}" x2="{at:.1f}" y2="{height - 8}" stroke="{colour}"/>',
                text(at, TOP - 12, str(2 ** power) if power >= 0 else f"1/{2 ** -power}", ' text-anchor="middle" fill="#444444"')]
    return out


def draw(rows, names, title):
    """`rows` are (title, [(name, ratio)]); `names` all that occur, in the order of the legend."""
    ratios = [ratio for _, bars in rows for _, ratio in bars]
    low, high = math.floor(math.log2(min([*ratios, 0.5]))), math.ceil(math.log2(max([*ratios, 2.0])))
    height = TOP + sum(len(bars) * BAR + GAP for _, bars in rows) + 12
    colours = {name: COLOURS[i % len(COLOURS)] for i, name in enumerate(names)}

    def x(ratio):
        return LEFT + (math.log2(ratio) - low) / (high - low) * WIDTH

    width = LEFT + WIDTH + RIGHT
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="sans-serif" font-size="11">',
           rect(0, 0, width, height, "#ffffff"), text(12, 22, title, ' font-size="15" font-weight="bold"')]
    at = 12
    for name in names:
        out += [rect(at, 34, 11, 11, colours[name]), text(at + 16, 44, f"than {name}")]
        at += 62 + 6.4 * len(name)
    out += grid(low, high, x, height)
    y = TOP
    for row, bars in rows:
        out.append(text(LEFT - 10, y + len(bars) * BAR / 2 + 4, row, ' text-anchor="end"'))
        for name, ratio in bars:
            left, right = sorted([x(1.0), x(ratio)])
            out += [rect(left, y, max(1.0, right - left), BAR - 2, colours[name]),
                    text(right + 4, y + BAR - 3, f"{ratio:.2f}", ' font-size="9"')]
            y += BAR
        y += GAP
    return "\n".join([*out, "</svg>", ""])
