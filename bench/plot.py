"""A plot with powers of ten on both sides, as SVG: linear growth is a straight line that climbs with the grey ones."""

import math

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 750, 440, 70, 50, 20, 150
# As many as lines may come: ten.
COLOURS = ["#1f5fa8", "#c2410c", "#15803d", "#7e22ce", "#0e7490", "#a16207", "#be185d", "#111827", "#65a30d", "#6b7280"]


def power(exponent, unit=""):
    """10 to this power as a reader would write it."""
    return f"{10 ** exponent:,}{unit}" if exponent >= 0 else f"{10 ** exponent:.{-exponent}f}{unit}"


def lines(series, across, up):
    """`series`: {name: [(x, y)]}, all above zero; `across` and `up` name the axes."""
    points = [point for line in series.values() for point in line]
    x0, x1 = (math.log10(pick(x for x, _ in points)) for pick in (min, max))
    y0, y1 = (rounded(math.log10(pick(y for _, y in points))) for pick, rounded in ((min, math.floor), (max, math.ceil)))
    x1, y1 = max(x1, x0 + 1), max(y1, y0 + 1)

    def place(x, y):
        return (LEFT + (x - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT),
                HEIGHT - BOTTOM - (y - y0) / (y1 - y0) * (HEIGHT - BOTTOM - TOP))

    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="13">',
             f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']

    def draw(start, end, colour, more=""):
        parts.append(f'<line x1="{start[0]:.1f}" y1="{start[1]:.1f}" x2="{end[0]:.1f}" y2="{end[1]:.1f}" stroke="{colour}"{more}/>')

    def write(at, text, anchor, more=""):
        parts.append(f'<text x="{at[0]:.1f}" y="{at[1]:.1f}" text-anchor="{anchor}"{more}>{text}</text>')

    for exponent in range(math.ceil(x0), math.floor(x1) + 1):
        draw(place(exponent, y0), place(exponent, y1), "#ddd")
        x, y = place(exponent, y0)
        write((x, y + 18), power(exponent), "middle")
    for exponent in range(y0, y1 + 1):
        draw(place(x0, exponent), place(x1, exponent), "#ddd")
        x, y = place(x0, exponent)
        write((x - 8, y + 4), power(exponent), "end")
        # Linear growth from here: as far as it stays inside.
        reach = min(x1 - x0, y1 - exponent)
        draw(place(x0, exponent), place(x0 + reach, exponent + reach), "#bbb", ' stroke-dasharray="3 4"')
    ends = []
    for number, (name, line) in enumerate(series.items()):
        colour = COLOURS[number % len(COLOURS)]
        placed = [place(math.log10(x), math.log10(y)) for x, y in line]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in placed)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>' for x, y in placed]
        ends.append([placed[-1][1], placed[-1][0], name, colour])
    # Names beside the ends of their lines, none over another.
    below = None
    for end in sorted(ends):
        below = end[0] if below is None else max(end[0], below + 15)
        write((end[1] + 10, below + 4), end[2], "start", f' fill="{end[3]}"')
    write((LEFT + (WIDTH - LEFT - RIGHT) / 2, HEIGHT - 10), across, "middle")
    middle = TOP + (HEIGHT - BOTTOM - TOP) / 2
    write((16, middle), up, "middle", f' transform="rotate(-90 16 {middle:.0f})"')
    return "\n".join([*parts, "</svg>"]) + "\n"
