"""Runs commands and says how long they took and how much memory; makes disks to run them on."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
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
            try:
                _, status, usage = os.wait4(child.pid, 0)
            except BaseException:
                # Nothing may still write to a disk that is about to be unmounted.
                child.kill()
                child.wait()
                raise
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
            # Whole blocks, since a loop device has no others.
            left, zeros = disk_bytes // 4096 * 4096, bytes(1 << 22)
            while left > 0:
                left -= out.write(zeros[:left])
            os.fsync(out.fileno())
    return image


@contextlib.contextmanager
def undisturbed():
    """A second Ctrl-C must not stop what the first one made necessary."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def attach(image):
    """A loop device that reads and writes the image directly: through the page cache, what is written would be copied in memory
    once more, and the drive would seem to be as fast as memory."""
    device = subprocess.run(["losetup", "--find", "--show", image], check=True, stdout=subprocess.PIPE, text=True).stdout.strip()
    refused = subprocess.run(["losetup", "--direct-io=on", device], check=False, stderr=subprocess.PIPE, text=True)
    if refused.returncode != 0:
        print(f"no direct I/O for {image}, so its drive seems too fast: {refused.stderr.strip()}", file=sys.stderr)
    return device


def detach(image):
    """Frees each loop device of the image, also one of which an interrupted `attach` could not tell the name."""
    found = subprocess.run(["losetup", "--noheadings", "--output", "NAME", "--associated", image],
                           check=True, stdout=subprocess.PIPE, text=True).stdout
    for device in found.split():
        subprocess.run(["losetup", "--detach", device], check=True)


@contextlib.contextmanager
def mounted(image, path, make=(), options="defaults"):
    """The ext4 in an image, mounted at a path; `make` is what mkfs.ext4 gets if it has to be made first. Only for root."""
    try:
        device = attach(image)
        if make:
            # No tables left to be filled in by the kernel while something else is measured.
            quiet = ["-q", "-F", "-m", "0", "-E", "nodiscard,lazy_itable_init=0,lazy_journal_init=0"]
            subprocess.run(["mkfs.ext4", *quiet, *make, device], check=True)
        subprocess.run(["mount", "-o", options, device, path], check=True)
        yield path
    finally:
        with undisturbed():
            if os.path.ismount(path):
                subprocess.run(["umount", path], check=True)
            detach(image)


@contextlib.contextmanager
def fresh_disk(work, disk_bytes):
    """A mount point of a new ext4 for root, else a new folder."""
    path = work / "disk"
    path.mkdir()
    try:
        if os.geteuid() == 0:
            with mounted(image_of(work, disk_bytes), path, make=["-b", "4096"]):
                yield path
        else:
            yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
