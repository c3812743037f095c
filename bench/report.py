"""Medians, ratios and targets, as Markdown."""

import statistics

from tools import BACKUP, FIRST_UPDATE, ONE_GO, RESTORE, SECOND_BACKUP, SECOND_UPDATE, VERIFY

# Largest ratio of dsb's time to that of a peer's step, and largest number of seconds; by set.
TARGETS = {
    "small": {
        FIRST_UPDATE: [("floor", 2.0)],
        SECOND_UPDATE: [("floor", 2.0)],
        BACKUP: [("floor", 1.1), ("cp -a", 1.0), ("rsync -a", 1.0)],
        ONE_GO: [("floor", 1.3)],
        SECOND_BACKUP: [(None, 1.0)],
        VERIFY: [("floor", 1.3)],
        RESTORE: [("cp -a", 1.0)],
    },
    "large": {
        FIRST_UPDATE: [("floor", 1.1)],
        SECOND_UPDATE: [(None, 0.05)],
        BACKUP: [("floor", 1.1), ("cp -a", 1.0)],
        ONE_GO: [("floor", 1.15)],
        SECOND_BACKUP: [(None, 0.1)],
        VERIFY: [("floor", 1.1)],
        RESTORE: [("cp -a", 1.0)],
    },
}
SUM = f"{FIRST_UPDATE} + {BACKUP}"
ORDER = [FIRST_UPDATE, SECOND_UPDATE, BACKUP, SUM, ONE_GO, SECOND_BACKUP, VERIFY, RESTORE]


def with_sum(run):
    """The run, and what a first backup in two steps took."""
    parts = [run[step] for step in (FIRST_UPDATE, BACKUP) if step in run]
    if len(parts) < 2:
        return run
    return {**run, SUM: (sum(seconds for seconds, _ in parts), max(peak for _, peak in parts))}


def median_of(runs, step, index):
    values = [run[step][index] for run in runs if step in run]
    return statistics.median(values) if values else None


def ratio_to(runs, reference, step):
    """Median over the turns of this tool's time by the reference's, in the same turn."""
    ratios = [a[step][0] / b[step][0] for a, b in zip(runs, reference) if step in a and step in b and b[step][0] > 0]
    return statistics.median(ratios) if ratios else None


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---" + "|---:" * (len(head) - 1) + "|"]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def seconds_cell(seconds):
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.2f} s"


def target_cell(kind, step, results):
    """Each target with what was measured, and whether it is met."""
    own, words = results.get("dsb", []), []
    for peer, most in TARGETS.get(kind, {}).get(step, []):
        if peer is None:
            found, unit = median_of(own, step, 0), seconds_cell(most)
            words += [f"≤ {unit}: {'met' if found <= most else 'MISSED'}"] if found is not None else []
            continue
        found = ratio_to(own, results.get(peer, []), step)
        if found is not None:
            words.append(f"≤ {most:g} × {peer}: {found:.2f} {'met' if found <= most else 'MISSED'}")
    return "<br>".join(words) or "–"


def of_set(title, kind, results):
    """Times, targets and memory of one data set; `results` maps a tool's name to its runs."""
    results = {name: [with_sum(run) for run in runs] for name, runs in results.items()}
    names = list(results)

    def time_cell(name, step):
        seconds = median_of(results[name], step, 0)
        if seconds is None:
            return "–"
        cell = seconds_cell(seconds)
        if name == "dsb":
            spread = [run[step][0] for run in results[name] if step in run]
            return cell if len(spread) < 2 else f"{cell} ({min(spread):.2f}–{max(spread):.2f})"
        ratio = ratio_to(results[name], results.get("dsb", []), step)
        return cell + (f" (×{ratio:.2f})" if ratio else "")

    def memory_cell(name, step):
        memory = median_of(results[name], step, 1)
        return "–" if memory is None else f"{memory / 1e6:.0f} MB"

    steps = [step for step in ORDER if any(step in run for runs in results.values() for run in runs)]
    times = [[step, *(time_cell(name, step) for name in names)] for step in steps]
    memory = [[step, *(memory_cell(name, step) for name in names)] for step in steps]
    parts = [f"### {title}", table(["time", *names], times)]
    if "dsb" in results and kind in TARGETS:
        targets = [[step, target_cell(kind, step, results)] for step in steps if step in TARGETS[kind]]
        parts.append(table(["target", "dsb's time by the peer's, in the same turn"], targets))
    return "\n\n".join([*parts, table(["peak memory", *names], memory)])
