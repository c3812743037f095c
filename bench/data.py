"""The data sets: the same bytes for the same seed, on every machine."""

import os
import random
import sys

SMALL_BYTES_MAX = 16 << 10
FILES_PER_FOLDER = 100
DUPLICATES = 0.1


def make_small(root, files, seed):
    """`files` files of 0 to 16 KiB in folders of a hundred, one in ten a duplicate of another."""
    contents = []
    draw = random.Random(f"small {seed}")
    for number in range(files):
        folder = root / f"folder-{number // FILES_PER_FOLDER:05}"
        if number % FILES_PER_FOLDER == 0:
            folder.mkdir(parents=True)
        content = number
        if contents and draw.random() < DUPLICATES:
            content = draw.choice(contents)
        contents.append(content)
        drawn = random.Random(f"content {seed} {content}")
        (folder / f"file-{number:07}.bin").write_bytes(drawn.randbytes(drawn.randint(0, SMALL_BYTES_MAX)))


def make_large(root, files, total_bytes, seed):
    """`files` different files of equal size, `total_bytes` together."""
    root.mkdir(parents=True)
    for number in range(files):
        drawn = random.Random(f"large {seed} {number}")
        left = total_bytes // files
        with open(root / f"film-{number:04}.mov", "wb") as out:
            while left > 0:
                part = min(left, 1 << 20)
                out.write(drawn.randbytes(part))
                left -= part


def in_child(function, *arguments):
    """Calls a function in a process of its own, so that this one stays small: the kernel counts the
    memory of whoever starts a program as the program's own."""
    pid = os.fork()
    if pid == 0:
        try:
            function(*arguments)
        except BaseException as error:
            print(f"{function.__name__}: {error}", file=sys.stderr)
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit(f"{function.__name__} failed")


def read_all(root):
    """Reads every file once: the cache is warm afterwards, if it is large enough."""
    for folder, _, names in os.walk(root):
        for name in names:
            with open(os.path.join(folder, name), "rb", buffering=0) as file:
                while file.read(1 << 20):
                    pass


def usage_of(root):
    """Number of files, and bytes in them."""
    sizes = [os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(root) for name in names]
    return len(sizes), sum(sizes)
