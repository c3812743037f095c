#!/usr/bin/env python3
"""Times dsb beside the floor of the machine, cp, rsync, distbackup 1.x, restic and borg, on the same data in the same run.

    cargo build --release --locked -p distbackup -p distbackup-floor
    sudo bench/run.py                      100,000 small files, then 6 GiB in 200 large ones
    bench/run.py --scale 0.01 --runs 1     a try in seconds
    sudo bench/run.py --document           also puts the result into docs/performance.md

Needs Python 3.9 and nothing beside it. As root, each tool gets a fresh ext4 in a loop-mounted image
as its disk; otherwise a fresh folder. The tools take turns, so that a slow minute of the machine
hits all of them; ratios are medians of the ratios within a turn. The source is read once before
each turn (warm cache: what is measured are the programs, not the disk they happen to run on); before
`verify` and `restore` root drops all caches, since both are for what the medium holds. `--cold` drops
them before each step. Every time includes a flush of what was written.
"""

import argparse
import contextlib
import datetime
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import data
import report
import tools
from measure import Failed, fresh_disk, measure, settle

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "performance.md"
MARKS = ("<!-- measured: begin -->", "<!-- measured: end -->")


def run_steps(tool, steps, source, work, options):
    """Steps of a tool on a fresh disk; {step: (seconds, bytes of memory)}."""
    results = {}
    with fresh_disk(work, options.disk_bytes) as disk, tools.Turn(source, work, disk) as turn:
        environment = turn.environment()
        if not any(tool.step(step, turn) for step in steps):
            return results
        measure(tool.prepare(turn), environment)
        for step in steps:
            commands = tool.step(step, turn)
            if commands is not None:
                settle(options.cold or (step in tools.FROM_THE_MEDIUM and os.geteuid() == 0))
                results[step] = measure(commands, environment)
                print(f"    {tool.name}: {step}: {results[step][0]:.2f} s", file=sys.stderr)
        restored = tool.restored(turn) if tools.RESTORE in results else None
        if options.check and restored:
            compare = ["diff", "-r", "-q", "--no-dereference", source, restored]
            measure([compare], environment)
    return results


def run_turn(tool, source, work, options):
    """All steps of a tool."""
    if not options.cold:
        data.in_child(data.read_all, source)
    results = run_steps(tool, tools.STEPS, source, work, options)
    if not options.cold:
        data.in_child(data.read_all, source)
    results.update(run_steps(tool, tools.ALONE, source, work, options))
    return results


def machine():
    model = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        for line in open("/proc/cpuinfo", encoding="utf-8"):
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return f"{model}, {os.cpu_count()} cores, {memory / 1e9:.0f} GB of memory, Linux {platform.release()}"


def version_of(program):
    try:
        told = subprocess.run([str(program), "--version"], capture_output=True, text=True, check=False)
        return (told.stdout.splitlines() or ["unknown version"])[0]
    except OSError as error:
        return str(error)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    release = ROOT / "target/release"
    parser.add_argument("--dsb", type=Path, default=release / "dsb", help="the program (%(default)s)")
    parser.add_argument("--floor", type=Path, default=release / "distbackup-floor", help="the yardstick (%(default)s)")
    parser.add_argument("--v1", type=Path, help="an installed distbackup 1.x, instead of one from PyPI")
    parser.add_argument("--tools", default="dsb,floor,safe-floor,cp,rsync,v1,restic,borg", help="which; also git-annex (%(default)s)")
    parser.add_argument("--sets", default="small,large", help="which data (%(default)s)")
    parser.add_argument("--small-files", type=int, default=100_000)
    parser.add_argument("--large-files", type=int, default=200)
    parser.add_argument("--large-bytes", type=int, default=6 << 30, help="of all large files together")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies files and bytes of both sets")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--slow-runs", type=int, default=1, help="turns of distbackup 1.x, restic, borg and git-annex (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cold", action="store_true", help="drop all caches before each step; needs root")
    parser.add_argument("--work", type=Path, help="where data and disks go; needs four times the data")
    parser.add_argument("--out", type=Path, help="also write the report into this file")
    parser.add_argument("--document", action="store_true", help="also put the report into docs/performance.md")
    return parser.parse_args()


def makers(options):
    """For each set, what makes it at a path."""
    small_files = max(1, round(options.small_files * options.scale))
    large_files = max(1, round(options.large_files * min(1.0, options.scale * 10)))
    large_bytes = max(large_files, round(options.large_bytes * options.scale))
    return {
        "small": lambda root: data.in_child(data.make_small, root, small_files, options.seed),
        "large": lambda root: data.in_child(data.make_large, root, large_files, large_bytes, options.seed),
    }


def run_set(make, source, work, chosen, options, failures):
    """All turns of all tools on one set; returns its size in words and {tool: runs}."""
    make(source)
    files, total = data.usage_of(source)
    needed = 4 * total + files * 8192 + (2 << 30)
    if shutil.disk_usage(work).free < needed - total:
        sys.exit(f"{needed / 1e9:.0f} GB are needed in {work.parent}: try --scale or --work")
    # Small files take a block and an inode each.
    options.disk_bytes = 2 * total + files * 8192 + (1 << 30)
    results = {tool.name: [] for tool in chosen}
    for turn in range(options.runs):
        print(f"  turn {turn + 1} of {options.runs}", file=sys.stderr)
        first, options.check = turn % len(chosen), turn == 0
        for tool in chosen[first:] + chosen[:first]:
            if tool.slow and turn >= options.slow_runs:
                continue
            try:
                results[tool.name].append(run_turn(tool, source, work, options))
            except Failed as error:
                # An empty run keeps the turns of all tools paired.
                results[tool.name].append({})
                failures.append(f"{tool.name}: {error}")
                print(f"FAILED: {failures[-1]}", file=sys.stderr)
    shutil.rmtree(source)
    # The next set has another size.
    (work / "disk.image").unlink(missing_ok=True)
    return f"{files:,} {'file' if files == 1 else 'files'}, {total / 1e9:.2f} GB", results


def document(text):
    """Puts the report between the marks of docs/performance.md; what stands around them stays."""
    before = DOCUMENT.read_text(encoding="utf-8")
    head, _, rest = before.partition(MARKS[0])
    tail = rest.partition(MARKS[1])[2]
    DOCUMENT.write_text(f"{head}{MARKS[0]}\n{text}\n{MARKS[1]}{tail}", encoding="utf-8")


def main():
    options = arguments()
    if options.cold and os.geteuid() != 0:
        sys.exit("--cold needs root: only root may drop caches")
    with tempfile.TemporaryDirectory(prefix="dsb-bench-", dir=options.work) as work:
        work = Path(work)
        chosen = tools.chosen(options.tools.split(","), options.dsb, options.floor, options.v1, work)
        least = measure([["true"]])[1]
        disks = "fresh ext4 on a loop device with direct I/O" if os.geteuid() == 0 else "fresh folders (not root)"
        cache = "cold" if options.cold else "warm"
        sections = [
            f"{version_of(options.dsb)}, {datetime.date.today()}: `bench/run.py {' '.join(sys.argv[1:])}`",
            f"{machine()}. Disks: {disks}. Medians of {options.runs} turns, of"
            f" slow peers {min(options.slow_runs, options.runs)}, {cache} cache, times include a flush. In brackets: the range"
            f" of dsb; of the others, their time divided by that of dsb in the same turn. Memory under {least / 1e6:.0f} MB"
            " cannot be told apart.",
        ]
        failures = []
        for name in options.sets.split(","):
            make = makers(options).get(name)
            if make is None:
                sys.exit(f"unknown set {name}: small or large")
            print(f"making the {name} set", file=sys.stderr)
            size, results = run_set(make, work / "source", work, chosen, options, failures)
            sections.append(report.of_set(f"{name.capitalize()} files: {size}", name, results))
        if failures:
            sections.append("### Failed\n\n" + "\n\n".join(f"```\n{failure}\n```" for failure in failures))
        text = "\n\n".join(sections) + "\n"
        print(text)
        if options.out:
            options.out.write_text(text, encoding="utf-8")
        if options.document:
            document(text)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
