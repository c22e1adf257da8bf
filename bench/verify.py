"""Compares a restored tree with its source, by a walk of its own."""

import hashlib
import os
import stat
from pathlib import Path

READ_BYTES = 1 << 20
DIFFERENCES_SHOWN = 5


def fingerprint(root):
    """Returns what is at and below `root`: path to a dictionary of what must come back."""
    entries = {".": describe(root)}
    for folder, folders, names in os.walk(root):
        for name in folders + names:
            path = Path(folder, name)
            entries[os.fspath(path.relative_to(root))] = describe(path)
    return entries


def describe(path):
    """Describes one entry: type, permissions, owner, modification time, content."""
    status = os.lstat(path)
    entry = {"type": stat.S_IFMT(status.st_mode), "mtime_ns": status.st_mtime_ns}
    if os.geteuid() == 0:
        entry["owner"] = (status.st_uid, status.st_gid)
    if stat.S_ISLNK(status.st_mode):
        entry["target"] = os.readlink(path)
        return entry
    entry["mode"] = stat.S_IMODE(status.st_mode)
    if stat.S_ISREG(status.st_mode):
        entry["size"] = status.st_size
        entry["content"] = digest(path)
    return entry


def digest(path):
    result = hashlib.sha256()
    with open(path, "rb") as reader:
        while block := reader.read(READ_BYTES):
            result.update(block)
    return result.hexdigest()


def differences(expected, found):
    """Returns what differs, a few examples and a count, or an empty list."""
    lines = [f"missing: {path}" for path in expected.keys() - found.keys()]
    lines += [f"extra: {path}" for path in found.keys() - expected.keys()]
    for path in expected.keys() & found.keys():
        fields = expected[path].keys() | found[path].keys()
        for field in sorted(fields):
            if expected[path].get(field) != found[path].get(field):
                lines.append(f"{field} of {path}: {expected[path].get(field)}"
                             f" became {found[path].get(field)}")
    lines.sort()
    if len(lines) > DIFFERENCES_SHOWN:
        lines = lines[:DIFFERENCES_SHOWN] + [f"and {len(lines) - DIFFERENCES_SHOWN} more"]
    return lines
