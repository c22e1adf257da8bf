#!/usr/bin/env python3
"""Measures dolmen beside restic and borg: first, unchanged and changed backup, and restore.

Every round runs every tool, one after the other, in each operation, so that a machine that grows
slower or faster hits all alike; the ratios of one round are the figures to trust. Every restore
is compared with its source. See README.md beside this file.

Exit codes: 0 all measured and all restores right, 1 a tool failed or a restore differs,
2 nothing could be measured, 130 interrupted.
"""

import sys

# The checkout stays as it is.
sys.dont_write_bytecode = True

import argparse
import contextlib
import dataclasses
import json
import os
import signal
import tempfile
import time
from pathlib import Path

import corpora
import measure
import report
import scratch
import tools
import verify

MIB = 1 << 20
GIB = 1 << 30
LOG_TAIL_LINES = 15

# What --quick makes of the sizes: enough to go through every line, too little to say anything.
QUICK = {"small_files": 300, "text_bytes": 8 * MIB, "random_bytes": 4 * MIB,
         "tree_bytes": 8 * MIB, "rounds": 2, "settle_s": 0.2}
FULL = {"small_files": 50_000, "text_bytes": GIB, "random_bytes": GIB,
        "tree_bytes": 3 * GIB // 2, "rounds": 3, "settle_s": 2.0}


class RunFailed(Exception):
    """A tool that did not do its work; it sits out the rest of the round."""


class Benchmark:
    """One invocation: the tools, where they work, and what was measured so far."""

    def __init__(self, options, opened, root, scratches, results):
        self.options = options
        self.tools = opened
        self.root = root
        self.scratch = scratches
        self.results = results

    def run_corpus(self, name):
        """Makes one corpus, measures all rounds on it and prints its tables."""
        size_bytes, entries = corpora.room(name, self.options)
        say(f"{name}: making the corpus")
        # Twice: the second version of a large file is a whole file.
        with self.scratch.fresh(f"{name}-corpus", size_bytes * 9 // 4, entries) as folder:
            corpus = corpora.make(name, folder, self.options)
            self.results["corpora"][name] = {
                "description": corpus.description, "files": corpus.files,
                "bytes": corpus.bytes, "changes": corpus.changes}
            for number in range(1, self.options.rounds + 1):
                self.run_round(corpus, number, entries)
                self.save()
        print(f"\n{report.terminal_report(self.results, name)}\n", flush=True)

    def run_round(self, corpus, number, entries):
        """Runs every operation with every tool, from new repositories."""
        # Each tool is first, second, last in turn.
        shift = (number - 1) % len(self.tools)
        order = self.tools[shift:] + self.tools[:shift]
        with contextlib.ExitStack() as areas:
            runners = []
            for tool in order:
                area = tools.Area(areas.enter_context(self.scratch.fresh(
                    f"{corpus.name}-{number}-{tool.name}", corpus.bytes * 2 + GIB, 10_000)))
                area.create()
                runners.append(Runner(self, corpus, number, tool, area))
            time.sleep(self.options.settle_s)
            self.each(runners, lambda runner: runner.init())
            self.each(runners, lambda runner: runner.backup("first"))
            self.each(runners, lambda runner: runner.backup("unchanged"))
            corpus.to_changed()
            try:
                expected = verify.fingerprint(corpus.source)
                time.sleep(self.options.settle_s)
                self.each(runners, lambda runner: runner.backup("changed"))
                self.each(runners, lambda runner: runner.restore(expected, entries))
            finally:
                corpus.to_original()

    def each(self, runners, action):
        """Does `action` with every tool that has not failed in this round."""
        for runner in list(runners):
            try:
                action(runner)
            except (RunFailed, measure.MeasureError) as error:
                runners.remove(runner)
                self.fail(f"{runner.label}: {error}")
                say(log_tail(runner.log))

    def fail(self, text):
        self.results["failures"].append(text)
        say(f"FAILED {text}")

    def save(self):
        """Writes the results so far, so that an interrupted run leaves what it had."""
        if self.options.json:
            write_file(self.options.json, json.dumps(self.results, indent=1) + "\n")
        if self.options.markdown:
            write_file(self.options.markdown, report.markdown_report(self.results))


class Runner:
    """One tool in one round on one corpus."""

    def __init__(self, benchmark, corpus, number, tool, area):
        self.benchmark = benchmark
        self.corpus = corpus
        self.number = number
        self.tool = tool
        self.area = area
        self.label = f"{corpus.name} round {number} {tool.name}"
        self.log = benchmark.root / "logs" / f"{corpus.name}-{number}-{tool.name}.log"

    def init(self):
        """Makes the repository; measured, but no part of the first backup."""
        self.record("init", self.run("init", self.tool.init(self.area), self.area.home))

    def backup(self, operation):
        """Makes one backup, named after the operation."""
        before = measure.tree_bytes(self.area.repository)
        command = self.tool.backup(self.area, self.corpus.source, operation)
        sample = self.run(operation, command, self.area.home, self.tool.backup_codes)
        after = measure.tree_bytes(self.area.repository)
        self.record(operation, sample, repository_bytes=after, added_bytes=after - before)

    def restore(self, expected, entries):
        """Restores the newest backup into an empty folder and compares it with its source."""
        name = f"{self.corpus.name}-{self.number}-{self.tool.name}-restore"
        size_bytes = self.corpus.bytes * 5 // 4 + GIB // 4
        with self.benchmark.scratch.fresh(name, size_bytes, entries) as target:
            command = self.tool.restore(self.area, self.corpus.source, "changed", target)
            sample = self.run("restore", command, target)
            # All three recreate the whole path below the target.
            restored = target / self.corpus.source.relative_to("/")
            differences = ["nothing was restored"]
            if restored.is_dir():
                differences = verify.differences(expected, verify.fingerprint(restored))
            repository_bytes = measure.tree_bytes(self.area.repository)
            self.record("restore", sample, repository_bytes=repository_bytes,
                        differences=differences)
        if differences:
            self.benchmark.fail(f"{self.label}: the restore differs: {'; '.join(differences)}")

    def run(self, operation, command, folder, codes=None):
        """Runs one command from a quiet disk and returns its numbers."""
        codes = codes or {0: ""}
        os.sync()
        # borg drops what it reads and writes from the page cache: whoever comes next would pay for that.
        for warm in (self.corpus.source, self.area.repository):
            measure.read_tree(warm)
        sample = measure.run(command, self.tool.environment(self.area), folder, self.log,
                             self.benchmark.options.timeout)
        result = dataclasses.asdict(sample) | {"sync_s": measure.sync_folder(folder)}
        say(f"{self.label} {operation}: {sample.wall_s:.2f} s")
        if sample.exit_code not in codes:
            raise RunFailed(f"{operation}: exit code {sample.exit_code}")
        if codes[sample.exit_code]:
            note = f"{self.label} {operation}: {codes[sample.exit_code]}"
            self.benchmark.results["notes"].append(note)
            say(f"note: {note}")
        return result

    def record(self, operation, sample, **more):
        """Keeps one run's numbers."""
        key = {"corpus": self.corpus.name, "round": self.number, "operation": operation,
               "tool": self.tool.name}
        self.benchmark.results["samples"].append(key | sample | more)


def log_tail(log):
    if not log.exists():
        return ""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(f"    {line}" for line in lines[-LOG_TAIL_LINES:])


def say(text):
    """Tells a person how far it is; the tables alone go to standard output."""
    print(text, file=sys.stderr, flush=True)


def write_file(path, text):
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def size(text):
    """Reads 500M, 2GiB, 1.5G: binary units."""
    units = {"": 1, "K": 1 << 10, "M": MIB, "G": GIB}
    bare = text.upper().removesuffix("B").removesuffix("I")
    unit = bare[-1:] if bare[-1:] in ("K", "M", "G") else ""
    return int(float(bare.removesuffix(unit)) * units[unit])


def names(known):
    """Returns a reader of comma-separated names out of `known`."""
    def parse(text):
        chosen = [name for name in text.split(",") if name]
        unknown = [name for name in chosen if name not in known]
        if unknown or not chosen:
            raise argparse.ArgumentTypeError(f"choose among {','.join(known)}")
        return chosen
    return parse


def parse_arguments():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--tools", type=names(tools.KINDS), default=list(tools.KINDS), metavar="A,B",
        help=f"default {','.join(tools.KINDS)}; one that is missing is said and left out")
    add("--corpora", type=names(corpora.MAKERS), default=list(corpora.MAKERS), metavar="A,B",
        help=f"default {','.join(corpora.MAKERS)}")
    add("--rounds", type=int, metavar="N", help=f"default {FULL['rounds']}")
    add("--quick", action="store_true", help="tiny sizes: a test of this program, not of the tools")
    add("--work", type=Path, metavar="DIR",
        help="where to work, in a new folder; default the temporary folder")
    add("--keep", action="store_true",
        help="keep that folder: the logs and, without loop files, all data")
    add("--scratch", choices=["auto", "loop", "folder"], default="auto",
        help="fresh ext4 in loop files (root), or plain folders; default what works")
    add("--json", metavar="FILE", default=str(tools.ROOT / "target" / "bench" / "results.json"),
        help="all numbers; default target/bench/results.json, empty for none")
    add("--markdown", metavar="FILE", help="the tables as a document, as in docs/benchmarks.md")
    add("--subject", choices=list(tools.KINDS), default="dolmen",
        help="the tool whose ratios to the others are shown; default dolmen")
    for name in tools.KINDS:
        add(f"--{name}", metavar="PATH", help=f"which {name} to run")
    add("--dolmen-lock", default="none", metavar="LOCK",
        help="given to dolmen init; default none, since the others lock nothing")
    add("--dolmen-compression", default="auto", metavar="MODE", help="default auto")
    add("--small-files", type=int, metavar="N", help=f"default {FULL['small_files']}")
    add("--text-bytes", type=size, metavar="SIZE", help="default 1GiB")
    add("--random-bytes", type=size, metavar="SIZE", help="default 1GiB")
    add("--tree", action="append", metavar="DIR",
        help="what `mixed` samples; may be repeated; default /usr/lib and /usr/share")
    add("--tree-bytes", type=size, metavar="SIZE", help="how much of it; default 1.5GiB")
    add("--seed", type=int, default=7, metavar="N", help="default 7")
    add("--settle-s", type=float, metavar="S",
        help=f"wait after a corpus changed; default {FULL['settle_s']}")
    add("--timeout", type=float, default=3600, metavar="S", help="for one run; default 3600")
    options = parser.parse_args()
    options.tree = options.tree or ["/usr/lib", "/usr/share"]
    for name, value in (QUICK if options.quick else FULL).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    if options.rounds < 1 or options.small_files < 100:
        parser.error("at least one round and 100 small files are needed")
    if min(options.text_bytes, options.random_bytes, options.tree_bytes) < MIB:
        parser.error("a corpus has at least 1MiB")
    for tree in options.tree:
        if not Path(tree).is_dir():
            parser.error(f"--tree {tree}: no such folder")
    return options


def open_tools(options):
    """Opens the tools that are here and says which are not."""
    opened = []
    for name in options.tools:
        try:
            opened.append(tools.open_tool(name, options))
            say(f"{name}: {opened[-1].version}")
        except tools.ToolError as error:
            say(f"left out: {error}")
    return opened


def measured_on(scratches, host):
    if scratches.kind == "loop":
        return f"fresh ext4 (noatime) in loop files on {host['file_system']}"
    return f"plain folders on {host['file_system']}"


def run_all(options, opened, root):
    """Measures everything in `root` and returns the results."""
    (root / "logs").mkdir()
    scratches = scratch.choose(options.scratch, root)
    host = report.machine(root)
    results = {
        "command": ["bench/run.py", *sys.argv[1:]],
        "options": {key: str(value) for key, value in vars(options).items()},
        "machine": host, "measured_on": measured_on(scratches, host),
        "tools": {tool.name: {"version": tool.version, "settings": tool.settings,
                              "binary": tool.binary} for tool in opened},
        "subject": options.subject, "owner_compared": os.geteuid() == 0,
        "corpora": {}, "samples": [], "failures": [], "notes": [],
    }
    benchmark = Benchmark(options, opened, root, scratches, results)
    for name in options.corpora:
        try:
            benchmark.run_corpus(name)
        except (scratch.ScratchError, OSError) as error:
            benchmark.fail(f"{name}: {error}")
            benchmark.save()
    return results


def main():
    options = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    opened = open_tools(options)
    if not opened:
        say("error: none of the tools is here")
        return 2
    if options.work:
        options.work.mkdir(parents=True, exist_ok=True)
    root = Path(tempfile.mkdtemp(prefix="dolmen-bench-", dir=options.work)).resolve()
    say(f"working in {root}")
    try:
        results = run_all(options, opened, root)
    except scratch.ScratchError as error:
        say(f"error: {error}")
        return 2
    except KeyboardInterrupt:
        say("interrupted")
        return 130
    finally:
        if options.keep:
            say(f"kept: {root}")
        elif any(os.path.ismount(entry) for entry in root.iterdir()):
            say(f"left behind: something is still mounted in {root}")
        else:
            scratch.remove_tree(root)
    for path in filter(None, (options.json, options.markdown)):
        say(f"written: {path}")
    print("\n".join(report.verdict(results)))
    return 1 if results["failures"] else 0


if __name__ == "__main__":
    sys.exit(main())
