#!/usr/bin/env python3
"""How `dsb` grows with the set: catalogs of 10 thousand to 10 million files, made by a generator, and trees as large.

    cargo build --release --locked -p distbackup -p distbackup-floor
    cargo build --release --locked -p distbackup-engine --example generate_catalog
    bench/scale.py                          needs 8 GB of room and an hour, most of it for the largest catalog
    sudo bench/scale.py --trees             also updates of real trees: 8 GB and an hour more
    bench/scale.py --sizes 10000 --runs 1     a try in seconds
    sudo bench/scale.py --trees --document  also puts the result into docs/performance.md, and the plot beside it

The catalogs speak of files that do not exist, so of them only questions are measured, and how long a
copy of the catalog takes, as each visit of a disk writes one. --trees measures `update`, of tiny files
that live inside their inodes, in loop-mounted images: this needs root. What is already in --work is
used again. Needs Python 3.9; what each index costs needs its sqlite3 module with dbstat.
"""

import argparse
import contextlib
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import data
import plot
import report
import trees
from measure import Failed, measure, settle

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "pictures" / "scale.svg"
MARKS = ("<!-- scale: begin -->", "<!-- scale: end -->")
CATALOG = "distbackup.sqlite"
# One in the middle, so that nothing is found by being first.
FOLDER = "/data/year-00000/folder-000050"
ANEW = " after a change"
QUESTIONS = {
    f"status{ANEW}": ["status"],
    "status": ["status"],
    f"next{ANEW}": ["next"],
    "next": ["next"],
    "where": ["where", f"{FOLDER}/IMG_00005050.jpg"],
    "ls": ["ls", FOLDER],
    "find": ["find", "IMG_00005050.jpg"],
}
COMPLETE = "completion"
# Seconds at ten million entries.
TARGETS = {"status": 1.0, "next": 1.0, "where": 1.0, COMPLETE: 0.1}
BYTES_TARGET = 300
BY_SQLITE = "catalog copy by SQLite"
BY_CP = "the same by `cp`"
FIRST_UPDATE = "first update"
UPDATE = "unchanged update"
STAT = "stat floor"
# Largest ratio of an unchanged update to the floor, and its peak memory in bytes.
RATIO_TARGET, MEMORY_TARGET = 2.0, 300e6


def commands(dsb, folder):
    """What is asked, and how: {name: command}."""
    asked = {name: [dsb, "-d", folder, *words] for name, words in QUESTIONS.items()}
    # What a shell calls when a key is pressed after a path.
    asked[COMPLETE] = ["env", "COMPLETE=fish", f"DISTBACKUP_PATH={folder}", dsb, "--", "dsb", "ls", f"{FOLDER}/IMG_0000"]
    return asked


def generate(generator, folder, files):
    """Makes the catalog unless it is there; a half-made one is made anew."""
    done = folder / "complete"
    if done.exists():
        return
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in folder.glob(f"{CATALOG}*"):
        left.unlink()
    measure([[generator, folder, str(files)]])
    done.touch()


def sizes_inside(catalog):
    """Bytes of each table and index, the largest first; empty if this Python cannot tell."""
    query = "SELECT name, sum(pgsize) FROM dbstat GROUP BY name ORDER BY 2 DESC"
    with contextlib.closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)) as connection:
        try:
            return dict(connection.execute(query).fetchall())
        except sqlite3.Error as error:
            print(f"SKIPPED: what each index costs: {error}", file=sys.stderr)
            return {}


def facts(catalog):
    """Distinct contents, and bytes of all names."""
    with contextlib.closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)) as connection:
        objects = connection.execute("SELECT count(*) FROM object").fetchone()[0]
        names = connection.execute("SELECT sum(length(name)) FROM entry").fetchone()[0]
    return objects, names


def forget_answers(folder):
    """What a change does: an answer that was kept holds no longer."""
    with contextlib.closing(sqlite3.connect(folder / CATALOG)) as connection:
        connection.execute("DELETE FROM kept_answer")
        connection.commit()


def environment():
    return {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}


def summary(name, runs):
    """Median seconds and the largest peak memory of [(seconds, peak bytes)]."""
    seconds = statistics.median(seconds for seconds, _ in runs)
    print(f"  {name}: {report.seconds_cell(seconds)}", file=sys.stderr)
    return seconds, max(peak for _, peak in runs)


def measured(dsb, folder, runs):
    """{question: (median seconds, peak bytes)}, after one run that warms the cache."""
    results = {}
    for name, command in commands(dsb, folder).items():
        each = []
        for _ in range(1 + runs):
            if name.endswith(ANEW):
                forget_answers(folder)
            each.append(measure([command], environment()))
        results[name] = summary(name, each[1:])
    return results


def copy_pages(catalog, copy):
    """What a visit does to leave the catalog on the disk: its pages in a database without a log, flushed."""
    with contextlib.closing(sqlite3.connect(f"file:{catalog}?mode=ro", uri=True)) as connection:
        with contextlib.closing(sqlite3.connect(copy)) as other:
            other.execute("PRAGMA synchronous = OFF")
            other.execute("PRAGMA locking_mode = EXCLUSIVE")
            connection.backup(other)
            other.execute("PRAGMA journal_mode = DELETE")
    with open(copy, "rb") as file:
        os.fsync(file.fileno())


def copied(folder, runs):
    """{way of copying the catalog: bytes of the copy in a second}, the ways in turn."""
    copy, rates = folder / "copy", {BY_SQLITE: [], BY_CP: []}

    def by_sqlite():
        started = time.monotonic()
        data.in_child(copy_pages, folder / CATALOG, copy)
        return time.monotonic() - started

    def by_cp():
        return measure([["cp", "--reflink=never", folder / CATALOG, copy], ["sync", copy]])[0]

    for _ in range(runs):
        for name, way in ((BY_SQLITE, by_sqlite), (BY_CP, by_cp)):
            settle(False)
            try:
                seconds = way()
                rates[name].append(copy.stat().st_size / seconds)
            finally:
                copy.unlink(missing_ok=True)
    return {name: statistics.median(each) for name, each in rates.items()}


def updated(dsb, floor, tree, catalog, runs):
    """{step: [(seconds, peak bytes)]} of updates with a fresh catalog, and of the floor in turn with them."""
    call = [dsb, "-L", "-d", catalog]
    # The floor keeps each folder open, and may not open those of ten million files at once.
    steps = {UPDATE: [[*call, "update"]], STAT: [[floor, "stat", group] for group in sorted(tree.iterdir())]}

    def run(step):
        settle(False)
        return measure(steps[step], environment())

    measure([[*call, "source", "map", "/data", tree]], environment())
    # The first of each warms the cache; a tiny file comes into memory with its inode.
    run(STAT)
    results = {FIRST_UPDATE: [run(UPDATE)], UPDATE: [], STAT: []}
    run(UPDATE)
    for turn in range(runs):
        for step in [UPDATE, STAT][:: 1 if turn % 2 == 0 else -1]:
            results[step].append(run(step))
    return results


def of_tree(options, work, size):
    """({step: (median seconds, peak bytes)}, ratio of an unchanged update to the floor) for a tree of this size."""
    catalog = work / "catalog-of-tree"
    shutil.rmtree(catalog, ignore_errors=True)
    catalog.mkdir(mode=0o700)
    try:
        with trees.tree(work / f"tree-{size}", size) as tree:
            runs = updated(options.dsb.resolve(), options.floor.resolve(), tree, catalog, options.runs)
    finally:
        shutil.rmtree(catalog, ignore_errors=True)
    ratio = statistics.median(own[0] / least[0] for own, least in zip(runs[UPDATE], runs[STAT]))
    return {step: summary(step, each) for step, each in runs.items()}, ratio


def bytes_cell(number):
    return f"{number / 1e6:,.0f} MB" if number >= 1e6 else f"{number / 1e3:,.0f} kB"


def verdict(found, most):
    return "met" if found <= most else "MISSED"


def rows_of(names, sizes, results):
    """A row of seconds and peak memory for each name."""
    return [[name, *(f"{report.seconds_cell(results[size][name][0])}, {bytes_cell(results[size][name][1])}" for size in sizes)]
            for name in names]


def of_sizes(sizes, results, counts, catalogs, copies):
    """The tables as Markdown."""
    head = ["files", *(f"{size:,}" for size in sizes)]
    rows = rows_of([*QUESTIONS, COMPLETE], sizes, results)
    largest = sizes[-1]
    per_object = catalogs[largest] / counts[largest][0]
    without_names = (catalogs[largest] - counts[largest][1]) / counts[largest][0]
    rows.append(["catalog", *(bytes_cell(catalogs[size]) for size in sizes)])
    rows.append(["bytes for each distinct file", *(f"{catalogs[size] / counts[size][0]:.0f}" for size in sizes)])
    for name in (BY_SQLITE, BY_CP):
        rows.append([name, *(f"{copies[size][name] / 1e6:,.0f} MB/s" for size in sizes)])
    parts = [report.table(head, rows)]
    words = []
    for name, most in TARGETS.items():
        found = results[largest][name][0]
        words.append([f"{name} ≤ {report.seconds_cell(most)}", report.seconds_cell(found), verdict(found, most)])
    words.append([f"catalog ≤ {BYTES_TARGET} bytes for each distinct file, names apart",
                  f"{without_names:.0f} bytes, {per_object:.0f} with names",
                  verdict(without_names, BYTES_TARGET)])
    parts.append(report.table([f"target, at {largest:,} files", "found", ""], words))
    return "\n\n".join(parts)


def of_updates(sizes, results, ratios):
    """Updates of real trees, as Markdown."""
    rows = rows_of([FIRST_UPDATE, UPDATE, STAT], sizes, results)
    rows.append([f"{UPDATE} by the floor", *(f"{ratios[size]:.2f}" for size in sizes)])
    largest = sizes[-1]
    ratio, memory = ratios[largest], results[largest][UPDATE][1]
    words = [[f"{UPDATE} ≤ {RATIO_TARGET:g} × {STAT}", f"{ratio:.2f}", verdict(ratio, RATIO_TARGET)],
             [f"{UPDATE} ≤ {bytes_cell(MEMORY_TARGET)}", bytes_cell(memory), verdict(memory, MEMORY_TARGET)]]
    return "\n\n".join([report.table(["real trees, files", *(f"{size:,}" for size in sizes)], rows),
                         report.table([f"target, at {largest:,} real files", "found", ""], words)])


def of_indexes(inside, objects):
    """What each table and index costs, as Markdown."""
    total = sum(inside.values())
    rows = [[f"`{name}`", bytes_cell(size), f"{size / objects:.1f}", f"{100 * size / total:.0f} %"]
            for name, size in inside.items() if size * 100 >= total]
    return report.table(["table or index (autoindex: of a UNIQUE column)", "size", "bytes for each distinct file", "share"], rows)


def document(text):
    """Puts the report between its marks in docs/performance.md; what stands around them stays."""
    before = DOCUMENT.read_text(encoding="utf-8")
    if MARKS[0] not in before:
        sys.exit(f"{DOCUMENT} lacks {MARKS[0]}")
    head, _, rest = before.partition(MARKS[0])
    tail = rest.partition(MARKS[1])[2]
    DOCUMENT.write_text(f"{head}{MARKS[0]}\n{text}\n{MARKS[1]}{tail}", encoding="utf-8")


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    release = ROOT / "target/release"
    parser.add_argument("--dsb", type=Path, default=release / "dsb", help="the program (%(default)s)")
    parser.add_argument("--floor", type=Path, default=release / "distbackup-floor", help="the yardstick (%(default)s)")
    parser.add_argument("--generator", type=Path, default=release / "examples/generate_catalog")
    parser.add_argument("--sizes", default="10000,100000,1000000,10000000", help="files of the catalogs (%(default)s)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--trees", action="store_true", help="also update real trees of these sizes; needs root")
    parser.add_argument("--largest-tree", type=int, default=10_000_000, help="no real tree has more files (%(default)s)")
    parser.add_argument("--work", type=Path, help="where catalogs and trees go, and stay")
    parser.add_argument("--document", action="store_true", help="also write docs/performance.md and the plot")
    return parser.parse_args()


def main():
    options = arguments()
    sizes = sorted(int(size) for size in options.sizes.split(","))
    if sizes[0] < 10_000:
        # The folder that is asked for is the 51st.
        sys.exit("sizes below 10,000 have no file to ask for")
    if options.trees and os.geteuid() != 0:
        print("SKIPPED: trees: only root may mount their images", file=sys.stderr)
        options.trees = False
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dsb-scale-")))
        results, counts, catalogs, copies, ratios, inside = {}, {}, {}, {}, {}, {}
        for size in sizes:
            folder = work / str(size)
            print(f"{size:,} files", file=sys.stderr)
            try:
                generate(options.generator.resolve(), folder, size)
                results[size] = measured(options.dsb.resolve(), folder, options.runs)
                copies[size] = copied(folder, options.runs)
                if options.trees and size <= options.largest_tree:
                    updates, ratios[size] = of_tree(options, work, size)
                    results[size].update(updates)
            except (Failed, subprocess.CalledProcessError) as error:
                sys.exit(str(error))
            counts[size], catalogs[size] = facts(folder / CATALOG), (folder / CATALOG).stat().st_size
        inside = sizes_inside(work / str(sizes[-1]) / CATALOG)
    once = "One run" if options.runs == 1 else f"Medians of {options.runs} runs"
    parts = [f"{once}, after one that warms the cache.", of_sizes(sizes, results, counts, catalogs, copies)]
    if ratios:
        parts.append(of_updates(list(ratios), results, ratios))
    if inside:
        parts.append(of_indexes(inside, counts[sizes[-1]][0]))
    text = "\n\n".join(parts) + "\n"
    print(text)
    if options.document:
        lines = {name: [(size, results[size][name][0]) for size in sizes if name in results[size]]
                 for name in results[sizes[0]]}
        PICTURE.write_text(plot.lines(lines, "files", "seconds"), encoding="utf-8")
        document(f"![Seconds by number of files, both by powers of ten](pictures/{PICTURE.name})\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
