"""The backup tools and how each is asked to do the same work."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PASSWORD = "benchmark"


class ToolError(Exception):
    """A tool that is not here or not of a known kind."""


@dataclass
class Area:
    """What one tool owns during one round, all of it fresh."""

    root: Path

    @property
    def repository(self):
        return self.root / "repository"

    @property
    def cache(self):
        return self.root / "cache"

    @property
    def state(self):
        return self.root / "state"

    @property
    def home(self):
        return self.root / "home"

    def create(self):
        """Makes the folders; the repository's own is the tool's to make."""
        for folder in (self.cache, self.state, self.home):
            folder.mkdir()


class Tool:
    """One backup tool. The commands are lists of arguments; `name` is a backup's name."""

    name = ""
    # Exit codes of a finished backup, each with what it means.
    backup_codes = {0: ""}
    settings = ""

    def __init__(self, binary, options):
        self.binary = binary
        self.options = options
        self.version = self.read_version()

    def environment(self, area):
        """Returns the whole environment: nothing of the caller's gets through but PATH."""
        common = {
            "PATH": os.environ.get("PATH", os.defpath),
            "LANG": "C.UTF-8",
            "HOME": str(area.home),
            "TMPDIR": str(area.state),
        }
        return common | self.own_environment(area)

    def read_version(self):
        command = [self.binary, *self.version_arguments]
        try:
            answer = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True,
                                    text=True, timeout=30, check=True)
        except (OSError, subprocess.SubprocessError) as error:
            raise ToolError(f"{self.name}: {error}") from error
        return answer.stdout.strip().splitlines()[0]


class Dolmen(Tool):
    """Dolmen, in a plain folder."""

    name = "dolmen"
    version_arguments = ["version"]
    backup_codes = {0: "", 22: "finished, but it looks to the tool like mass encryption (22)"}

    @property
    def settings(self):
        return (f"`init --lock {self.options.dolmen_lock}`, "
                f"`backup --compression {self.options.dolmen_compression}`")

    def own_environment(self, area):
        return {
            "DOLMEN_REPOSITORY": str(area.repository),
            "DOLMEN_PASSWORD": PASSWORD,
            "DOLMEN_CACHE_DIR": str(area.cache),
            "DOLMEN_STATE_DIR": str(area.state),
        }

    def init(self, _area):
        return [self.binary, "init", "--lock", self.options.dolmen_lock]

    def backup(self, _area, source, _name):
        return [self.binary, "backup", "--compression", self.options.dolmen_compression, source]

    def restore(self, _area, _source, _name, target):
        return [self.binary, "restore", "latest", "--target", target]


class Restic(Tool):
    """restic, repository version 2."""

    name = "restic"
    version_arguments = ["version"]
    settings = "`init --repository-version 2`, `backup --compression auto`"

    def own_environment(self, area):
        return {
            "RESTIC_REPOSITORY": str(area.repository),
            "RESTIC_PASSWORD": PASSWORD,
            "RESTIC_CACHE_DIR": str(area.cache),
        }

    def init(self, _area):
        return [self.binary, "init", "--repository-version", "2"]

    def backup(self, _area, source, _name):
        return [self.binary, "backup", "--compression", "auto", source]

    def restore(self, _area, _source, _name, target):
        return [self.binary, "restore", "latest", "--target", target]


class Borg(Tool):
    """borg 1."""

    name = "borg"
    version_arguments = ["--version"]
    # 1 is "finished with warnings"; the restore is compared anyway.
    backup_codes = {0: "", 1: "finished with warnings (1)"}

    def __init__(self, binary, options):
        super().__init__(binary, options)
        if not self.version.startswith("borg 1."):
            raise ToolError(f"borg: {self.version} has other commands than borg 1")
        # The faster of the two authentications on this processor, as borg's manual advises.
        self.encryption = "repokey" if "sha_ni" in processor_flags() else "repokey-blake2"

    @property
    def settings(self):
        return f"`init --encryption {self.encryption}`, `create --compression zstd,3`"

    def own_environment(self, area):
        return {
            "BORG_REPO": str(area.repository),
            "BORG_PASSPHRASE": PASSWORD,
            "BORG_BASE_DIR": str(area.cache),
        }

    def init(self, _area):
        return [self.binary, "init", "--encryption", self.encryption]

    def backup(self, area, source, name):
        return [self.binary, "create", "--compression", "zstd,3", f"{area.repository}::{name}",
                source]

    def restore(self, area, _source, name, _target):
        # borg restores into the working folder, which is the target.
        return [self.binary, "extract", f"{area.repository}::{name}"]


KINDS = {kind.name: kind for kind in (Dolmen, Restic, Borg)}


def processor_flags():
    """Returns the flags of the first processor."""
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(("flags", "Features")):
                return set(line.split(":", 1)[1].split())
    return set()


def open_tool(name, options):
    """Finds the tool `name` and asks its version."""
    wanted = getattr(options, name)
    if wanted:
        binary = str(Path(wanted).resolve()) if os.sep in wanted else shutil.which(wanted)
    elif name == "dolmen":
        built = ROOT / "target" / "release" / "dolmen"
        binary = str(built) if built.is_file() else shutil.which("dolmen")
    else:
        binary = shutil.which(name)
    if not binary or not os.access(binary, os.X_OK):
        raise ToolError(f"{name}: not found")
    return KINDS[name](binary, options)
