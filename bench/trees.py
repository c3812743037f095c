"""Real trees of very many tiny files, each in an image of its own that stays for the next time.

A tiny file lives inside its inode (ext4 with inline data), so ten million of them need 4 GB and not 40.
"""

import contextlib
import multiprocessing
import os
import shutil
import sys

from measure import mounted

FILES_PER_FOLDER = 100
FOLDERS_PER_PART = 100
PARTS_PER_GROUP = 100
FILES_PER_PART = FILES_PER_FOLDER * FOLDERS_PER_PART
# What a file costs in the image: an inode, its share of a folder's block, and room to spare.
BYTES_PER_FILE = 400


def fill_part(root, part, files):
    """The files of one part, each with a content of its own: its number in 16 digits."""
    first = part * FILES_PER_PART
    for start in range(first, min(first + FILES_PER_PART, files), FILES_PER_FOLDER):
        folder = root / f"group-{part // PARTS_PER_GROUP:03}" / f"part-{part:05}" / f"folder-{start // FILES_PER_FOLDER:06}"
        folder.mkdir(parents=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        for number in range(start, min(start + FILES_PER_FOLDER, files)):
            file = os.open(f"file-{number:08}.txt", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644, dir_fd=held)
            os.write(file, b"%016d" % number)
            os.close(file)
        os.close(held)


def fill(root, files):
    """Makes the tree with all processors; each part is made by one of them."""
    parts = -(-files // FILES_PER_PART)
    with multiprocessing.Pool() as pool:
        pool.starmap(fill_part, [(root, part, files) for part in range(parts)], chunksize=1)


def make(folder, files):
    """Makes the image unless it is there; a half-made one is made anew."""
    done, image, mount = folder / "complete", folder / "tree.image", folder / "mount"
    if done.exists():
        return
    mount.mkdir(parents=True, exist_ok=True)
    image.unlink(missing_ok=True)
    if shutil.disk_usage(folder).free < files * BYTES_PER_FILE:
        sys.exit(f"{files * BYTES_PER_FILE / 1e9:.1f} GB are needed in {folder}: try --work or smaller --sizes")
    # For each folder, too, and some to spare.
    inodes = files + files // 50 + 1000
    with open(image, "wb") as out:
        # Mostly a hole: more than a block for each inode, since a group has as many of both.
        out.truncate(inodes * 5120 + (64 << 20))
    # No journal: who loses power begins anew.
    with mounted(image, mount, ["-O", "inline_data,^has_journal", "-b", "4096", "-I", "256", "-N", str(inodes)]):
        fill(mount / "tree", files)
    done.touch()


@contextlib.contextmanager
def tree(folder, files):
    """The root of a tree with so many files, mounted to be read only; for root."""
    make(folder, files)
    mount = folder / "mount"
    mount.mkdir(exist_ok=True)
    with mounted(folder / "tree.image", mount, options="ro,noatime"):
        yield mount / "tree"
