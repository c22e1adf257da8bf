"""Folders to measure in: each on a file system of its own where that can be had.

ext4 without a journal refuses to reuse inodes freed minutes ago, and creating files there becomes
ten times slower after a mass delete. A benchmark that restores, deletes and restores again on it
measures that. A fresh ext4 in a loop file has no past and is thrown away whole.
"""

import contextlib
import os
import shutil
import stat
import subprocess
import tempfile
import time
from pathlib import Path

GIB = 1 << 30
UNMOUNT_TRIES = 20


class ScratchError(Exception):
    """A folder to measure in that could not be had."""


class FolderScratch:
    """Plain folders below one, which go when everything ends and not before."""

    kind = "folder"

    def __init__(self, root):
        self.root = root

    @contextlib.contextmanager
    def fresh(self, name, size_bytes, _files):
        """Yields a new empty folder."""
        require_room(self.root, size_bytes)
        yield Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.root))


class LoopScratch:
    """Fresh ext4 file systems in loop files. Needs root."""

    kind = "loop"

    def __init__(self, root):
        self.root = root

    @contextlib.contextmanager
    def fresh(self, name, size_bytes, files):
        """Yields the root of a new ext4 that holds `size_bytes` in `files`; it goes at the end."""
        # A file takes an inode, a directory entry and half a block of waste.
        size_bytes = size_bytes + files * 3072 + 256 * (1 << 20)
        require_room(self.root, size_bytes)
        image = self.root / f"{name}.ext4"
        mount = self.root / name
        with contextlib.ExitStack() as undo:
            undo.callback(remove, image, mount)
            mount.mkdir()
            reserve(image, size_bytes)
            command("mkfs.ext4", "-q", "-F", "-m", "0", "-N", max(size_bytes >> 14, files * 5 // 4),
                    "-E", "nodiscard,lazy_itable_init=1,lazy_journal_init=1", image)
            device = attach(image)
            undo.callback(command, "losetup", "--detach", device)
            # The kernel's lazy initialisation would write beside the first tool measured, and
            # access times would make the first reader pay.
            command("mount", "-t", "ext4", "-o", "noatime,noinit_itable", device, mount)
            undo.callback(unmount, mount)
            (mount / "lost+found").rmdir()
            yield mount


def choose(wanted, root):
    """Returns the scratch to use: `loop`, `folder`, or `auto` for what works."""
    if wanted == "folder":
        return FolderScratch(root)
    missing = [tool for tool in ("losetup", "mkfs.ext4", "mount", "umount") if not find(tool)]
    try:
        if os.geteuid() != 0:
            raise ScratchError("not root")
        if missing:
            raise ScratchError(f"not installed: {', '.join(missing)}")
        scratch = LoopScratch(root)
        with scratch.fresh("probe", 0, 0):
            return scratch
    except (ScratchError, OSError) as error:
        if wanted == "loop":
            raise ScratchError(f"no loop file systems here: {error}") from error
        print(f"note: no loop file systems here ({error}); measuring in plain folders")
        return FolderScratch(root)


def find(tool):
    """Finds a system tool also where only root's PATH looks."""
    return shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")


def command(*parts):
    """Runs a system tool and returns what it prints."""
    parts = [str(part) for part in parts]
    parts[0] = find(parts[0]) or parts[0]
    result = subprocess.run(parts, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if result.returncode != 0:
        raise ScratchError(f"{' '.join(parts)}: {result.stderr.strip()}")
    return result.stdout.strip()


def reserve(image, size_bytes):
    """Makes a file of `size_bytes` whose blocks are already its own, where that is possible."""
    descriptor = os.open(image, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.posix_fallocate(descriptor, 0, size_bytes)
    except OSError:
        os.ftruncate(descriptor, size_bytes)
    finally:
        os.close(descriptor)


def attach(image):
    """Returns the loop device for `image`, past the page cache if possible: once is enough."""
    try:
        return command("losetup", "--find", "--show", "--direct-io=on", image)
    except ScratchError:
        return command("losetup", "--find", "--show", image)


def unmount(mount):
    """Unmounts, patiently; in the end the mount goes when its last user does."""
    for _ in range(UNMOUNT_TRIES):
        try:
            command("umount", mount)
            return
        except ScratchError:
            time.sleep(0.5)
    command("umount", "--lazy", mount)


def remove(image, mount):
    image.unlink(missing_ok=True)
    # Never a recursive delete: if something is still mounted here, it stays.
    with contextlib.suppress(OSError):
        mount.rmdir()


def require_room(root, size_bytes):
    free = shutil.disk_usage(root).free
    if free < size_bytes + GIB // 2:
        raise ScratchError(f"{root} has {free / GIB:.1f} GiB free, "
                           f"{size_bytes / GIB:.1f} GiB are needed; --work names another place")


def remove_tree(root):
    """Deletes `root` and all below it, folders without write permission too."""
    for folder, names, _ in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            # Never through a symlink: restored ones point into the real system.
            if stat.S_ISDIR(mode) and mode & stat.S_IRWXU != stat.S_IRWXU:
                os.chmod(path, mode | stat.S_IRWXU)
    shutil.rmtree(root)
