#!/usr/bin/env python3
"""Shows that space comes back: many snapshots of a changing tree, most of them forgotten, one `dolmen maintain`.

Compares what is stored then with a fresh repository of the surviving snapshots, and prints the peak memory of
maintain. Every survivor is restored and compared with what it was made of.

Exit codes: 0 all as wanted, 1 a limit is exceeded or a restore differs, 2 usage.
"""

import sys

# The checkout stays as it is.
sys.dont_write_bytecode = True

import argparse
import hashlib
import json
import os
import random
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

MIB = 1 << 20
RATIO_MAX = 1.1
PEAK_BYTES_MAX = 256 * MIB


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dolmen", default="target/release/dolmen", help="the program")
    parser.add_argument("--tree-mib", type=int, default=2048)
    parser.add_argument("--snapshots", type=int, default=200)
    parser.add_argument("--keep-every", type=int, default=10, help="of so many snapshots one survives")
    parser.add_argument("--change", type=float, default=0.02, help="share of the bytes that change from one to the next")
    parser.add_argument("--protect", type=int, default=20, help="seconds of protection")
    parser.add_argument("--scratch", type=Path, default=None, help="where to work (default: the temporary folder)")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


class Tree:
    """A tree of files of mixed sizes that changes in a way that its seed tells."""

    def __init__(self, root, size_bytes, seed):
        self.root = root
        self.random = random.Random(seed)
        self.sizes = {}
        left = size_bytes
        while left > 0:
            # Many small files, most of the bytes in larger ones.
            wanted = int(self.random.choice([4 << 10, 30 << 10, 200 << 10, 2 << 20, 12 << 20]) * self.random.uniform(0.5, 1.5))
            wanted = min(wanted, left)
            self.write(len(self.sizes), wanted)
            left -= wanted

    def path(self, number):
        return self.root / f"{number % 97:02}" / f"{number % 11}" / f"file {number}"

    def write(self, number, size_bytes):
        path = self.path(number)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.random.randbytes(size_bytes))
        self.sizes[number] = size_bytes

    def change(self, share):
        """Rewrites files, and parts of large ones, until so many bytes are others."""
        left = share * sum(self.sizes.values())
        while left > 0:
            number = self.random.choice(list(self.sizes))
            size_bytes = self.sizes[number]
            if size_bytes > 4 * MIB:
                part = min(size_bytes, MIB)
                with self.path(number).open("r+b") as file:
                    file.seek(self.random.randrange(size_bytes - part + 1))
                    file.write(self.random.randbytes(part))
                left -= part
            else:
                self.write(number, size_bytes)
                left -= size_bytes


def digest_of(root):
    """One digest of all names and contents."""
    whole = hashlib.blake2b()
    for folder, folders, names in sorted(os.walk(root)):
        folders.sort()
        for name in sorted(names):
            path = Path(folder) / name
            whole.update(str(path.relative_to(root)).encode())
            with path.open("rb") as file:
                whole.update(hashlib.file_digest(file, "blake2b").digest())
    return whole.hexdigest()


def stored_bytes(root):
    return sum(path.stat().st_size for path in root.rglob("*") if path.is_file())


class Dolmen:
    """A repository and how to call the program on it."""

    def __init__(self, program, root, protect):
        self.program = program
        self.repository = root / "repository"
        self.variables = dict(
            os.environ,
            DOLMEN_REPOSITORY=str(self.repository),
            DOLMEN_PASSWORD="benchmark",
            DOLMEN_STATE_DIR=str(root / "state"),
            DOLMEN_CACHE_DIR=str(root / "cache"),
        )
        self.run("init", "--lock", "none", "--protect", f"{protect}s")

    def run(self, *command):
        done = subprocess.run(
            [self.program, *command, "--json"], env=self.variables, check=False, capture_output=True, text=True
        )
        if done.returncode != 0:
            raise SystemExit(f"dolmen {' '.join(map(str, command))} ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def backup(self, path):
        lines = self.run("backup", path).splitlines()
        return json.loads(lines[-1])["snapshot_id"]

    def restore(self, snapshot, path, target):
        shutil.rmtree(target, ignore_errors=True)
        self.run("restore", f"{snapshot}:{path}", "--target", str(target))


def main():
    options = arguments()
    program = str(Path(options.dolmen).resolve())
    with tempfile.TemporaryDirectory(dir=options.scratch, prefix="dolmen-compact-") as scratch:
        return show(options, program, Path(scratch))


def show(options, program, root):
    source = root / "source"
    (root / "main").mkdir()
    (root / "fresh").mkdir()
    tree = Tree(source, options.tree_mib * MIB, options.seed)
    dolmen = Dolmen(program, root / "main", options.protect)
    survivors = []
    for number in range(options.snapshots):
        if number > 0:
            tree.change(options.change)
        snapshot = dolmen.backup(source)
        if number % options.keep_every == options.keep_every - 1:
            survivors.append((snapshot, digest_of(source)))
    full = stored_bytes(dolmen.repository)
    known = {snapshot["id"] for snapshot in json.loads(dolmen.run("snapshots"))}
    dolmen.run("forget", *sorted(known - {snapshot for snapshot, _ in survivors}))
    # Lease and margin of what was retired, and the delay after them.
    time.sleep(options.protect * 3)

    begin = time.monotonic()
    process = subprocess.Popen([program, "maintain", "--json"], env=dolmen.variables, stdout=subprocess.PIPE, text=True)
    document = json.loads(process.stdout.read())
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.monotonic() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    peak = usage.ru_maxrss * 1024
    kept = stored_bytes(dolmen.repository)

    fresh = Dolmen(program, root / "fresh", options.protect)
    target = root / "target"
    differing = 0
    for snapshot, digest in survivors:
        dolmen.restore(snapshot, source, target)
        differing += digest_of(target) != digest
        fresh.backup(target)
    wanted = stored_bytes(fresh.repository)
    ratio = kept / wanted

    print(f"snapshots {options.snapshots} of {options.tree_mib} MiB, {len(survivors)} survive")
    print(f"stored before {full / MIB:.0f} MiB, after maintain {kept / MIB:.0f} MiB, fresh {wanted / MIB:.0f} MiB")
    print(f"ratio {ratio:.3f} (at most {RATIO_MAX})")
    print(f"maintain: exit {process.returncode}, {seconds:.1f} s, peak {peak / MIB:.0f} MiB (at most {PEAK_BYTES_MAX // MIB})")
    print(f"compact: {json.dumps(document['compact'])}")
    print(f"survivors that differ: {differing}")
    is_fine = process.returncode == 0 and differing == 0 and ratio <= RATIO_MAX and peak <= PEAK_BYTES_MAX
    return 0 if is_fine else 1


if __name__ == "__main__":
    sys.exit(main())
