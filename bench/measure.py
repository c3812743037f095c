"""Runs commands and says how long they took and how much memory; makes disks to run them on."""

import contextlib
import os
import shutil
import subprocess
import tempfile
import time

DROP = "/proc/sys/vm/drop_caches"


class Failed(Exception):
    """A command ended with another code than 0: its times mean nothing."""


def measure(commands, environment=None, directory=None):
    """Runs commands one after the other; returns seconds of all and the largest peak memory in bytes."""
    peak = 0
    started = time.monotonic()
    for command in commands:
        with tempfile.TemporaryFile() as output:
            child = subprocess.Popen(
                [str(part) for part in command],
                env=environment,
                cwd=directory,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
            _, status, usage = os.wait4(child.pid, 0)
            child.returncode = os.waitstatus_to_exitcode(status)
            peak = max(peak, usage.ru_maxrss * 1024)
            if child.returncode != 0:
                output.seek(0, os.SEEK_END)
                output.seek(max(0, output.tell() - 2000))
                text = output.read().decode(errors="backslashreplace")
                raise Failed(f"{' '.join(map(str, command))}\nended with {child.returncode}:\n{text}")
    return time.monotonic() - started, peak


def settle(cold):
    """What came before must not be paid by what comes next; with `cold`, nothing may help it either."""
    os.sync()
    if cold:
        with open(DROP, "w", encoding="ascii") as drop:
            drop.write("3\n")


def image_of(work, disk_bytes):
    """The drive that all tools of a set write to in turn. Filled once: where nothing was ever written, the first one to come
    would pay for the room below, on a virtual machine several times over."""
    image = work / "disk.image"
    if not image.exists():
        with open(image, "wb", buffering=0) as out:
            left, zeros = disk_bytes, bytes(1 << 22)
            while left > 0:
                left -= out.write(zeros[:left])
            os.fsync(out.fileno())
    return image


@contextlib.contextmanager
def fresh_disk(work, disk_bytes):
    """A mount point of a new ext4 for root, else a new folder."""
    path = work / "disk"
    path.mkdir()
    mounted = False
    try:
        if os.geteuid() == 0:
            image = image_of(work, disk_bytes)
            # No tables left to be filled in by the kernel while something else is measured.
            quiet = ["-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"]
            subprocess.run(["mkfs.ext4", *quiet, str(image)], check=True)
            subprocess.run(["mount", "-o", "loop", str(image), str(path)], check=True)
            mounted = True
        yield path
    finally:
        if mounted:
            subprocess.run(["umount", str(path)], check=True)
        shutil.rmtree(path, ignore_errors=True)
