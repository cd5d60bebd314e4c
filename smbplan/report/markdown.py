"""Reports for the comment of a merge request. Pure; what targets and definitions say is escaped."""

import re
from collections.abc import Sequence

from smbplan.engine.kind import Change, Kinds
from smbplan.engine.outcome import Outcome
from smbplan.engine.plan import Plan
from smbplan.engine.step import Status, Step
from smbplan.errors import Trouble
from smbplan.report import manual, text
from smbplan.report.terminal import plural, safe
from smbplan.report.words import SYMBOLS, notes

MOST = 50_000  # characters of details; the comments of GitHub end at 65 536
SHOWN = 500  # rows of a table


def plan(made: Plan, kinds: Kinds, view: text.View = "plan") -> str:
    """Summary, refusals and warnings, a table of the changes, and the details folded away."""
    parts = [f"### smbplan: {escaped(made.site)}", f"**{text.summary(made, view)}**"]
    parts += [
        _item(f"⛔ **Refused** {code(item.address)}" if item.address else "⛔ **Refused**", item.summary, item.hint)
        for item in made.refused
    ]
    parts += [f"- ⚠️ {escaped(warning)}" for warning in made.warnings]
    if view != "drift":
        parts += [_item(f"🔓 guardrail {code(item.guardrail)} lifted", item.summary, "") for item in made.lifted]
    if made.changes:
        parts.append(_table(made.changes, kinds))
        parts.append(folded(f"Details of {plural(len(made.changes), 'change')}", _as_diff(made, kinds, view)))
    return "\n\n".join(parts)


def applied(run: str, steps: Sequence[Step], outcome: Outcome) -> str:
    """How a run ended."""
    counts = {status: list(outcome.statuses.values()).count(status) for status in Status}
    told = ", ".join(f"{count} {status}" for status, count in counts.items() if count) or "nothing was to be done"
    parts = [f"### smbplan: {outcome.name.replace('_', ' ')}", f"**{plural(len(steps), 'step')}: {told}.**"]
    if run:
        parts.append(f"Run {code(run)}.")
    parts += [_item(f"⚠️ {code(item.address)}", item.text, "") for item in outcome.warnings]
    parts += [_item(f"❌ {code(item.address)}", item.summary, item.hint) for item in outcome.problems]
    commands = manual.commands(outcome.stranded, outcome.homes)
    if commands:
        parts += [f"{manual.TITLE}:", fenced("\n".join(map(_lines, commands)))]
    return "\n\n".join(parts)


def errors(troubles: Sequence[Trouble]) -> str:
    return "\n".join(
        _item(
            f"❌ {code(item.file or item.address)}{f' line {item.line}' if item.line else ''}", item.summary, item.hint
        )
        for item in troubles
    )


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *([escaped(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def escaped(words: str) -> str:
    """Plain words, whatever they hold: no markup, no mention, no HTML, no table's end."""
    plain = safe(words).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("@", "@\u200b")
    return re.sub(r"([\\`*_{}\[\]()#!|~])", r"\\\1", plain)


def code(words: str) -> str:
    """A span of code."""
    plain = safe(words).replace("`", "'").replace("|", "¦")
    return f"`{plain}`" if plain else ""


def fenced(body: str, language: str = "") -> str:
    """A block of code whose fence is longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`+", body)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{body}\n{fence}"


def folded(title: str, body: str) -> str:
    return f"<details><summary>{escaped(title)}</summary>\n\n{body}\n\n</details>"


def _item(subject: str, summary: str, hint: str) -> str:
    return f"- {subject}: {escaped(summary)}" + (f" — {escaped(hint)}" if hint else "")


def _table(changes: Sequence[Change], kinds: Kinds) -> str:
    head = "| | Resource | Gateway | Action |\n|---|---|---|---|"
    rows = [
        f"| {code(SYMBOLS[item.action])} | {code(item.address)} | {code(item.target)} "
        f"| {escaped('; '.join([str(item.action), *notes(item, kinds)]))} |"
        for item in changes[:SHOWN]
    ]
    more = [f"| | … and {len(changes) - SHOWN} more | | |"] if len(changes) > SHOWN else []
    return "\n".join([head, *rows, *more])


def _as_diff(made: Plan, kinds: Kinds, view: text.View) -> str:
    """The text report's body with its symbols in the first column, where a diff has them."""
    lines = [re.sub(r"^( +|! )([-+]) ", r"\2\1", line) for line in text.body(made, kinds, view=view).splitlines()]
    body = "\n".join(lines)
    if len(body) > MOST:
        body = body[:MOST].rsplit("\n", 1)[0] + "\n… cut here; `smbplan plan` shows all"
    return fenced(body, "diff")


def _lines(command: str) -> str:
    return "\n".join(safe(line) for line in command.splitlines())
