#!/usr/bin/env python3
"""How `dsb` grows with the set: catalogs of 10 thousand to 10 million files, made by a generator.

    cargo build --release --locked -p distbackup && cargo build --release --locked -p distbackup-engine --example generate_catalog
    bench/scale.py                          needs 4 GB of room and an hour, most of it for the largest catalog
    bench/scale.py --sizes 10000 --runs 1     a try in seconds
    bench/scale.py --document               also puts the result into docs/performance.md, and the plot beside it

The catalogs speak of files that do not exist, so only questions are measured, not updates. Catalogs
that are already in --work are used again. Needs Python 3.9; what each index costs needs its sqlite3
module with dbstat.
"""

import argparse
import contextlib
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import plot
import report
from measure import Failed, measure

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"
PICTURE = ROOT / "docs" / "pictures" / "scale.svg"
MARKS = ("<!-- scale: begin -->", "<!-- scale: end -->")
CATALOG = "distbackup.sqlite"
# One in the middle, so that nothing is found by being first.
FOLDER = "/data/year-00000/folder-000050"
ANEW = "status after a change"
QUESTIONS = {
    ANEW: ["status"],
    "status": ["status"],
    "next": ["next"],
    "where": ["where", f"{FOLDER}/IMG_00005050.jpg"],
    "ls": ["ls", FOLDER],
    "find": ["find", "IMG_00005050.jpg"],
}
COMPLETE = "completion"
# Seconds at ten million entries.
TARGETS = {"status": 1.0, "next": 1.0, "where": 1.0, COMPLETE: 0.1}
BYTES_TARGET = 300


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


def measured(dsb, folder, runs):
    """{question: (median seconds, peak bytes)}, after one run that warms the cache."""
    environment = {**os.environ, "NO_COLOR": "1", "TERM": "dumb"}
    results = {}
    for name, command in commands(dsb, folder).items():
        each = []
        for _ in range(1 + runs):
            if name == ANEW:
                forget_answers(folder)
            each.append(measure([command], environment))
        each = each[1:]
        results[name] = (statistics.median(seconds for seconds, _ in each), max(peak for _, peak in each))
        print(f"  {name}: {results[name][0] * 1000:.0f} ms", file=sys.stderr)
    return results


def bytes_cell(number):
    return f"{number / 1e6:,.0f} MB" if number >= 1e6 else f"{number / 1e3:,.0f} kB"


def of_sizes(sizes, results, counts, catalogs):
    """The tables as Markdown."""
    head = ["files", *(f"{size:,}" for size in sizes)]
    rows = []
    for name in [*QUESTIONS, COMPLETE]:
        cells = [f"{report.seconds_cell(results[size][name][0])}, {bytes_cell(results[size][name][1])}" for size in sizes]
        rows.append([name, *cells])
    largest = sizes[-1]
    per_object = catalogs[largest] / counts[largest][0]
    without_names = (catalogs[largest] - counts[largest][1]) / counts[largest][0]
    rows.append(["catalog", *(bytes_cell(catalogs[size]) for size in sizes)])
    rows.append(["bytes for each distinct file", *(f"{catalogs[size] / counts[size][0]:.0f}" for size in sizes)])
    parts = [report.table(head, rows)]
    words = []
    for name, most in TARGETS.items():
        found = results[largest][name][0]
        verdict = "met" if found <= most else "MISSED"
        words.append([f"{name} ≤ {report.seconds_cell(most)}", report.seconds_cell(found), verdict])
    verdict = "met" if without_names <= BYTES_TARGET else "MISSED"
    words.append([f"catalog ≤ {BYTES_TARGET} bytes for each distinct file, names apart",
                  f"{without_names:.0f} bytes, {per_object:.0f} with names", verdict])
    parts.append(report.table([f"target, at {largest:,} files", "found", ""], words))
    return "\n\n".join(parts)


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
    parser.add_argument("--generator", type=Path, default=release / "examples/generate_catalog")
    parser.add_argument("--sizes", default="10000,100000,1000000,10000000", help="files of the catalogs (%(default)s)")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--work", type=Path, help="where the catalogs go, and stay")
    parser.add_argument("--document", action="store_true", help="also write docs/performance.md and the plot")
    return parser.parse_args()


def main():
    options = arguments()
    sizes = sorted(int(size) for size in options.sizes.split(","))
    if sizes[0] < 10_000:
        # The folder that is asked for is the 51st.
        sys.exit("sizes below 10,000 have no file to ask for")
    with contextlib.ExitStack() as stack:
        work = options.work or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="dsb-scale-")))
        results, counts, catalogs, inside = {}, {}, {}, {}
        for size in sizes:
            folder = work / str(size)
            print(f"{size:,} files", file=sys.stderr)
            try:
                generate(options.generator.resolve(), folder, size)
                results[size] = measured(options.dsb.resolve(), folder, options.runs)
            except Failed as error:
                sys.exit(str(error))
            counts[size], catalogs[size] = facts(folder / CATALOG), (folder / CATALOG).stat().st_size
        inside = sizes_inside(work / str(sizes[-1]) / CATALOG)
    once = "One run" if options.runs == 1 else f"Medians of {options.runs} runs"
    parts = [f"{once}, after one that warms the cache.", of_sizes(sizes, results, counts, catalogs)]
    if inside:
        parts.append(of_indexes(inside, counts[sizes[-1]][0]))
    text = "\n\n".join(parts) + "\n"
    print(text)
    if options.document:
        lines = {name: [(size, results[size][name][0]) for size in sizes] for name in results[sizes[0]]}
        PICTURE.write_text(plot.lines(lines, "files in the catalog", "seconds"), encoding="utf-8")
        document(f"![Seconds by number of files, both by powers of ten](pictures/{PICTURE.name})\n\n{text}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
