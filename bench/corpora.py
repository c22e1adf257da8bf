"""The trees that are backed up, each in two versions that can be swapped in place.

A corpus is one folder at one path. Its second version is made by renames alone: what it adds
waits in a stash beside the folder, what it drops goes there. So files that did not change keep
their inode, times and path (a real second backup meets them like that), the first version comes
back for the next round byte for byte, and nothing is ever deleted (see README.md).
"""

import functools
import hashlib
import itertools
import math
import os
import random
import shutil
import stat
import time
from dataclasses import dataclass, field
from pathlib import Path

MIB = 1 << 20
COPY_BYTES = 4 * MIB
SMALL_BYTES_MIN = 64
SMALL_BYTES_MAX = 16 << 10

# Shares of a tree's files that the second version treats in each way.
EDITED, APPENDED, FRONTED, RENAMED, DELETED, ADDED = 0.01, 0.005, 0.005, 0.005, 0.005, 0.005

# The last thing written to a corpus. borg reads again whatever bears the newest change time it
# met, because later changes could bear the same one; without this file that would be a quarter
# of `text`, which no live system would show.
LAST_WRITTEN = "zz-last-written"


@dataclass
class Corpus:
    """One corpus on disk, in its first version until `to_changed`."""

    name: str
    source: Path
    stash: Path
    description: str = ""
    files: int = 0
    bytes: int = 0
    changes: dict = field(default_factory=dict)
    moves: list = field(default_factory=list)

    def to_changed(self):
        """Swaps the second version in."""
        for old, new in self.moves:
            os.rename(old, new)
        self.write_last("changed")

    def to_original(self):
        """Swaps the first version back in."""
        for old, new in reversed(self.moves):
            os.rename(new, old)
        self.write_last("original")

    def write_last(self, text):
        """Gives one small file a later change time than all the others."""
        time.sleep(0.05)
        (self.source / LAST_WRITTEN).write_text(text + "\n", encoding="utf-8")

    def replace(self, path, edits):
        """Plans another content for `path`; see `write_edited` for `edits`."""
        new = self.stash / f"new-{len(self.moves)}"
        write_edited(path, new, edits)
        os.chmod(new, stat.S_IMODE(path.lstat().st_mode))
        self.delete(path)
        self.moves.append((new, path))

    def delete(self, path):
        """Plans that `path` goes."""
        self.moves.append((path, self.stash / f"old-{len(self.moves)}"))

    def add(self, path, content):
        """Plans that `path` comes."""
        new = self.stash / f"new-{len(self.moves)}"
        new.write_bytes(content)
        self.moves.append((new, path))

    def rename(self, path, new_path):
        """Plans that `path` is called otherwise. Later plans must use the new name."""
        self.moves.append((path, new_path))

    def count(self):
        """Counts what the first version holds."""
        for folder, _, names in os.walk(self.source):
            for name in names:
                status = os.lstat(os.path.join(folder, name))
                if stat.S_ISREG(status.st_mode):
                    self.files += 1
                    self.bytes += status.st_size


def write_edited(old, new, edits):
    """Writes `old` to `new` with `edits`: (offset, bytes dropped there, bytes put there)."""
    with open(old, "rb") as reader, open(new, "wb") as writer:
        for offset, dropped, put in sorted(edits):
            copy_bytes(reader, writer, offset - reader.tell())
            reader.seek(dropped, os.SEEK_CUR)
            writer.write(put)
        shutil.copyfileobj(reader, writer, COPY_BYTES)


def copy_bytes(reader, writer, count):
    while count > 0:
        block = reader.read(min(count, COPY_BYTES))
        if not block:
            return
        writer.write(block)
        count -= len(block)


class LogText:
    """An endless stream of log-like lines: repetitive in shape, fresh in detail."""

    LINES = 512

    def __init__(self, seed):
        self.random = random.Random(seed)
        syllables = [a + b for a in "bcdfghklmnprstvw" for b in "aeiou"]
        pick = self.random.choices
        self.words = ["".join(pick(syllables, k=self.random.randint(1, 4))) for _ in range(3000)]
        # Common words are common: without that, text compresses less than any real log.
        self.weights = [1 / (rank + 3) for rank in range(len(self.words))]
        self.templates = [self.template() for _ in range(200)]
        self.second = 0
        self.rest = b""

    def template(self):
        """Makes one shape of line with four places to fill in: word, number, hex, word."""
        pick = self.random.choices
        level = pick(["INFO", "DEBUG", "WARN", "ERROR"], weights=[70, 20, 8, 2])[0]
        module = "::".join(pick(self.words[:300], k=2))
        text = pick(self.words[:400], k=self.random.randint(3, 9))
        return f"{level} {module}: {' '.join(text)} %s={{}} n=%d id=%08x %s\n".format(
            pick(self.words)[0])

    def block(self):
        """Returns some fifty KiB of whole lines, all of one second."""
        self.second += 1
        day, second = divmod(self.second, 86400)
        clock = f"2026-{day // 28 % 12 + 1:02}-{day % 28 + 1:02}T" \
                f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}."
        lines, values = [], []
        words = self.random.choices(self.words, weights=self.weights, k=2 * self.LINES)
        for number, template in enumerate(self.random.choices(self.templates, k=self.LINES)):
            lines.append(f"{clock}{number * 1000 // self.LINES:03}Z {template}")
            bits = self.random.getrandbits(48)
            values += (words[2 * number], bits >> 32, bits & 0xFFFFFFFF, words[2 * number + 1])
        return ("".join(lines) % tuple(values)).encode()

    def read(self, count):
        """Returns the next `count` bytes."""
        blocks = [self.rest]
        held = len(self.rest)
        while held < count:
            blocks.append(self.block())
            held += len(blocks[-1])
        joined = b"".join(blocks)
        self.rest = joined[count:]
        return joined[:count]


class RandomBytes:
    """An endless stream that nothing compresses."""

    def __init__(self, seed):
        self.random = random.Random(seed)

    def read(self, count):
        """Returns the next `count` bytes."""
        return self.random.randbytes(count)


def make_small(corpus, options):
    """Many small text files in nested folders."""
    rng, text = random.Random(options.seed), LogText(options.seed)
    folders = [corpus.source]
    for number in range(max(4, options.small_files // 40)):
        parent = rng.choice(folders[-200:])
        if len(parent.relative_to(corpus.source).parts) > 6:
            parent = corpus.source
        folders.append(parent / f"{rng.choice(text.words)}-{number}")
        folders[-1].mkdir()
    for number in range(options.small_files):
        exponent = rng.uniform(math.log(SMALL_BYTES_MIN), math.log(SMALL_BYTES_MAX))
        path = rng.choice(folders) / f"{rng.choice(text.words)}-{number}.txt"
        path.write_bytes(text.read(round(math.exp(exponent))))
    change_tree(corpus, rng, text)
    corpus.description = f"{options.small_files} text files of 64 B to 16 KiB in nested folders"


def make_text(corpus, options):
    """Four large compressible files."""
    text = LogText(options.seed)
    files = make_files(corpus, text, options.text_bytes, 4, "log")
    size = options.text_bytes // 4
    step = size // 32
    corpus.replace(files[0], [(size, 0, text.read(size // 200))])
    corpus.replace(files[1], [(0, 0, text.read(150))])
    corpus.replace(files[2], [(number * step, 100, text.read(100)) for number in range(32)])
    corpus.replace(files[3], [(size // 2, size // 100, b"")])
    corpus.rename(files[3], files[3].with_suffix(".renamed"))
    corpus.changes = {"appended to": 1, "inserted at the front": 1, "edited in place": 1,
                      "renamed with a range deleted": 1}
    corpus.description = "log-like text in 4 files"


def make_random(corpus, options):
    """Two large incompressible files."""
    noise = RandomBytes(options.seed)
    files = make_files(corpus, noise, options.random_bytes, 2, "bin")
    size = options.random_bytes // 2
    step = size // 16
    edit = min(4096, step)
    corpus.replace(files[0], [(0, 0, noise.read(1000)), (size, 0, noise.read(size // 200))])
    edits = [(number * step, edit, noise.read(edit)) for number in range(16)]
    corpus.replace(files[1], edits + [(size - step // 2, step // 4, b"")])
    corpus.rename(files[1], files[1].with_suffix(".renamed"))
    corpus.changes = {"inserted at the front and appended to": 1,
                      "renamed with edits in place and a range deleted": 1}
    corpus.description = "random bytes in 2 files"


def make_files(corpus, stream, total_bytes, count, suffix):
    """Writes `count` files of equal size and returns their paths."""
    paths = [corpus.source / f"part-{number}.{suffix}" for number in range(count)]
    for path in paths:
        left = total_bytes // count
        with open(path, "wb") as writer:
            while left > 0:
                left -= writer.write(stream.read(min(left, COPY_BYTES)))
    return paths


def make_mixed(corpus, options):
    """A sample of real trees, up to a size."""
    folders = {}
    for path, relative, _ in sample_trees(tuple(options.tree), options.tree_bytes):
        target = corpus.source / relative
        if target.parent not in folders:
            target.parent.mkdir(parents=True, exist_ok=True)
            folders[target.parent] = path.parent
        copy_entry(path, target)
    for target, path in sorted(folders.items(), reverse=True):
        shutil.copystat(path, target)
        os.chmod(target, target.stat().st_mode | 0o700)
    change_tree(corpus, random.Random(options.seed), LogText(options.seed))
    corpus.description = f"a sample of {' and '.join(map(str, options.tree))}"


@functools.cache
def sample_trees(trees, bytes_max):
    """Lists files and symlinks of `trees` that come to about `bytes_max`."""
    found = [entry for tree in trees for entry in list_tree(Path(tree).resolve())]
    # One giant would be the whole sample.
    found = [entry for entry in found if entry[2] <= bytes_max // 8]
    share = min(1.0, bytes_max / max(1, sum(size for _, _, size in found)))
    return [entry for entry in found if chance(entry[1]) < share]


def list_tree(tree):
    """Lists files and symlinks below `tree`: path, path below the tree's parent, size."""
    found = []
    for folder, _, names in os.walk(tree):
        for name in names:
            path = Path(folder, name)
            try:
                status = path.lstat()
            except OSError:
                continue
            if stat.S_ISREG(status.st_mode) and os.access(path, os.R_OK):
                found.append((path, path.relative_to(tree.parent), status.st_size))
            elif stat.S_ISLNK(status.st_mode):
                found.append((path, path.relative_to(tree.parent), 0))
    return sorted(found)


def chance(relative):
    """Returns a number in 0..1 that depends on the path alone, so that a sample is repeatable."""
    digest = hashlib.sha256(os.fsencode(relative)).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def copy_entry(path, target):
    """Copies a file or symlink with mode and times. Hard links become files of their own."""
    if path.is_symlink():
        os.symlink(os.readlink(path), target)
    else:
        shutil.copyfile(path, target)
    shutil.copystat(path, target, follow_symlinks=False)


def change_tree(corpus, rng, text):
    """Plans the second version of a tree of files."""
    paths = sorted(
        Path(folder, name)
        for folder, _, names in os.walk(corpus.source)
        for name in names
        if not os.path.islink(os.path.join(folder, name))
    )
    rng.shuffle(paths)
    total = len(paths)
    remaining = iter(paths)

    def take(share, what):
        taken = list(itertools.islice(remaining, max(1, round(total * share))))
        corpus.changes[what] = len(taken)
        return taken

    for path in take(EDITED, "edited in place"):
        size = path.stat().st_size
        length = min(size, 48)
        corpus.replace(path, [((size - length) // 2, length, text.read(length))])
    for path in take(APPENDED, "appended to"):
        corpus.replace(path, [(path.stat().st_size, 0, text.read(700))])
    for path in take(FRONTED, "inserted at the front"):
        corpus.replace(path, [(0, 0, text.read(70))])
    for path in take(DELETED, "deleted"):
        corpus.delete(path)
    for path in take(RENAMED, "renamed"):
        corpus.rename(path, path.with_name(path.name + ".renamed"))
    for number, path in enumerate(take(ADDED, "added")):
        corpus.add(path.with_name(f"added-{number}.txt"), text.read(3000))
    # Last, because every plan above names the folder as it was.
    for path in remaining:
        folder = path.parent
        if folder != corpus.source and 2 <= sum(1 for _ in folder.iterdir()) <= 200:
            corpus.rename(folder, folder.with_name(folder.name + ".renamed"))
            corpus.changes["folders renamed"] = 1
            break


MAKERS = {"small": make_small, "text": make_text, "random": make_random, "mixed": make_mixed}


def make(name, folder, options):
    """Makes the corpus `name` in `folder`, in its first version."""
    corpus = Corpus(name, folder / "source", folder / "stash")
    corpus.source.mkdir()
    corpus.stash.mkdir()
    MAKERS[name](corpus, options)
    corpus.write_last("original")
    corpus.count()
    return corpus


def room(name, options):
    """Returns the bytes and the entries that the corpus comes to at most."""
    if name == "small":
        return options.small_files * 4 << 10, options.small_files * 5 // 4 + 100
    if name == "mixed":
        sample = sample_trees(tuple(options.tree), options.tree_bytes)
        # Nearly every folder holds a file that was sampled, or is on the way to one.
        return sum(size for _, _, size in sample), len(sample) * 2 + 100
    return {"text": options.text_bytes, "random": options.random_bytes}[name], 100
