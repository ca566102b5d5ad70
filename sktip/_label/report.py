"""The report of `sktip label`: one page of HTML that needs no other file."""

import base64
import os
from datetime import date
from html import escape

from sktip._label.accuracy import Estimate
from sktip._label.labelling import Session
from sktip._utils.messages import printable
from sktip.exceptions import ImageReadError

#: Side of the photos in the report, in pixels.
SIDE = 160
STYLE = """
:root { color-scheme: light dark; --text: #1c1c1e; --faint: #55555c; --back: #ffffff;
  --line: #d8d8de; --accent: #0069a6 }
@media (prefers-color-scheme: dark) {
  :root { --text: #f2f2f4; --faint: #b4b4bd; --back: #17171a; --line: #3a3a42; --accent: #62b8ee } }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back); max-width: 60rem;
  margin: 2rem auto; padding: 0 1rem; overflow-wrap: break-word }
h1, h2 { line-height: 1.2 } h2 { margin-top: 2.5rem } p.faint, figcaption { color: var(--faint) }
b.large { display: block; font-size: 2.5rem; line-height: 1.2; color: var(--accent) }
table { border-collapse: collapse; display: block; overflow-x: auto }
th, td { text-align: left; padding: .4rem 1.5rem .4rem 0; max-width: 60vw;
  border-bottom: 1px solid var(--line) } td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
.photos { display: flex; flex-wrap: wrap; gap: .75rem } figure { margin: 0; width: 160px }
figcaption { font-size: .85rem; overflow-wrap: anywhere }
img { width: 160px; height: 160px; object-fit: contain; border: 1px solid var(--line) }
svg { width: 100%; height: auto } .band { fill: var(--accent); opacity: .2 } .curve { fill: none;
  stroke: var(--accent); stroke-width: 2 } .axis { stroke: var(--line) }
svg text { fill: var(--faint); font-size: 12px }
"""


def report(session: Session) -> str:
    """Return the page: counts, shares, accuracy, examples per class, and the most doubtful answers."""
    now, n = session.knowledge, len(session.paths)
    # Not the whole path, since the page may be sent.
    name = _text(os.path.basename(session.root) or session.root)
    parts = [
        f"<h1>{name}</h1>",
        f'<p class="faint">{date.today():%Y-%m-%d}, <code>sktip label</code></p>',
        f"<p>{session.n_answered():,} of {n:,} photos are labelled, in {len(session.classes):,} "
        f"{'tags' if session.tags else 'classes'}. {len(session.errors):,} cannot be read.</p>",
        _headline(now.accuracy),
        _curve(now.curve),
        _table(session),
        _examples(session),
    ]
    if now.doubtful:
        pictures = [
            _photo(session, row, f"labelled {session.label_of(row)}, probability {p:.0%}")
            for row, p in now.doubtful
        ]
        parts += [
            "<h2>Most doubtful labels</h2>",
            "<p>Each is predicted from all other labels. Not all of them are wrong.</p>",
            f'<div class="photos">{"".join(pictures)}</div>',
        ]
    if session.errors:
        rows = [(session.name(row), text) for row, text in sorted(session.errors.items())]
        items = "".join(f"<tr><td>{_text(a)}</td><td>{_text(b)}</td></tr>" for a, b in rows)
        parts.append(f"<h2>Photos that cannot be read</h2><table>{items}</table>")
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}</title><style>{STYLE}</style></head><body><main>"
        f"{''.join(parts)}</main></body></html>\n"
    )


def _headline(accuracy: Estimate | None) -> str:
    if accuracy is None:
        return "<p>There are too few answers to say how many predictions are right.</p>"
    return (
        f'<p><b class="large">{accuracy.value:.0%}</b>of the predictions for the photos without a label are '
        "expected to be "
        f"right ({_interval(accuracy)}, from {accuracy.n:,} answers).</p>"
    )


def _interval(estimate: Estimate) -> str:
    return f"{estimate.lower:.0%} to {estimate.upper:.0%}, an interval of 80 %"


def _curve(curve: tuple[tuple[int, Estimate], ...]) -> str:
    """Draw the expected accuracy over the number of answers."""
    if len(curve) < 2:
        return ""
    width, height, left = 600, 200, 40
    last, first = curve[-1][0], curve[0][0]

    def at(n: int, value: float) -> str:
        x = left + (width - left - 10) * (n - first) / max(last - first, 1)
        return f"{x:.1f},{height - 20 - (height - 30) * value:.1f}"

    line = " ".join(at(n, e.value) for n, e in curve)
    band = [at(n, e.upper) for n, e in curve] + [at(n, e.lower) for n, e in curve[::-1]]
    axes = "".join(
        f'<line class="axis" x1="{left}" x2="{width - 10}" y1="{y}" y2="{y}"/>'
        f'<text x="{left - 6}" y="{y + 4}" text-anchor="end">{share:.0%}</text>'
        for share in (0, 0.5, 1)
        for y in [height - 20 - (height - 30) * share]
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="Expected accuracy over the number of '
        f'answers, from {curve[0][1].value:.0%} at {first:,} to {curve[-1][1].value:.0%} at {last:,}">{axes}'
        f'<polygon class="band" points="{" ".join(band)}"/><polyline class="curve" points="{line}"/>'
        f'<text x="{left}" y="{height - 4}">{first:,}</text>'
        f'<text x="{width - 10}" y="{height - 4}" text-anchor="end">{last:,} answers</text></svg>'
    )


def _table(session: Session) -> str:
    rows = []
    for name, known in session.knowledge.classes.items():
        held_out = f"{known.right:,} of {known.n_held_out:,}" if known.n_held_out else ""
        share = (
            ""
            if known.share is None
            else f"{known.share.value:.0%} ({known.share.lower:.0%} to {known.share.upper:.0%})"
        )
        cells = "".join(
            f'<td class="number">{cell}</td>' for cell in (f"{known.n_answers:,}", held_out, share)
        )
        rows.append(f'<tr><th scope="row">{_text(name)}</th>{cells}</tr>')
    titles = ("labelled", "found when held out", "share of the folder")
    head = "".join(f'<th scope="col" class="number">{title}</th>' for title in titles)
    return (
        f'<h2>Classes</h2><table><tr><th scope="col">class</th>{head}</tr>{"".join(rows)}</table>'
    )


def _examples(session: Session) -> str:
    parts = []
    for name, known in session.knowledge.classes.items():
        if known.examples:
            photos = "".join(_photo(session, row, session.name(row)) for row in known.examples)
            parts.append(f'<h2>{_text(name)}</h2><div class="photos">{photos}</div>')
    return "".join(parts)


def _photo(session: Session, row: int, caption: str) -> str:
    name, text = _text(session.name(row)), _text(caption)
    try:
        content = base64.b64encode(session.picture(row, SIDE)).decode()
        picture = f'<img src="data:image/jpeg;base64,{content}" alt="{name}">'
    except (ImageReadError, OSError):
        picture = f"<p>{name} cannot be read.</p>"
    return f"<figure>{picture}<figcaption>{text}</figcaption></figure>"


def _text(text: str) -> str:
    return escape(printable(text))
