"""Turns measured runs into tables."""

import os
import platform
import shlex
import subprocess
from datetime import datetime, timezone
from statistics import median

from tools import ROOT

MIB = 1 << 20
GIB = 1 << 30
ADDED_BYTES_MIN = 64 << 10
OPERATIONS = ("first", "unchanged", "changed", "restore")
OPERATION_NAMES = {
    "first": "first backup",
    "unchanged": "unchanged backup",
    "changed": "changed backup",
    "restore": "restore",
}


def machine(work):
    """Describes the machine as far as it matters here."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {platform.release()}",
        "distribution": distribution(),
        "file_system": file_system(work),
        "load_at_start": os.getloadavg()[0],
        "python": platform.python_version(),
        "commit": commit(),
    }


def processor():
    with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            if line.startswith(("model name", "Model")):
                return line.split(":", 1)[1].strip()
    return platform.machine()


def distribution():
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return "unknown"


def file_system(folder):
    """Returns type and options of the file system that `folder` is on."""
    best = ("", "unknown")
    with open("/proc/self/mounts", encoding="utf-8", errors="replace") as lines:
        for line in lines:
            _device, place, kind, options = line.split()[:4]
            place = place.encode().decode("unicode_escape")
            inside = os.path.commonpath([place, os.fspath(folder)]) == place
            # Of two mounts on one place the later one shows.
            if inside and len(place) >= len(best[0]):
                best = (place, f"{kind} ({options})")
    return best[1]


def commit():
    """Returns the source's commit, or nothing outside a checkout."""
    try:
        answer = subprocess.run(["git", "-C", ROOT, "rev-parse", "--short", "HEAD"],
                                capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return answer.stdout.strip()


class Samples:
    """The runs of one corpus, to be asked by operation and tool."""

    def __init__(self, samples):
        self.by_key = {}
        for sample in samples:
            key = (sample["operation"], sample["tool"])
            self.by_key.setdefault(key, {})[sample["round"]] = sample

    def values(self, operation, tool, field):
        rounds = self.by_key.get((operation, tool), {})
        return [value for sample in rounds.values() if (value := read(sample, field)) is not None]

    def round_ratios(self, operation, tool, other, field):
        """Returns the ratio of the two tools in each round that both finished."""
        ours = self.by_key.get((operation, tool), {})
        theirs = self.by_key.get((operation, other), {})
        ratios = []
        for number in ours.keys() & theirs.keys():
            mine, its = read(ours[number], field), read(theirs[number], field)
            if mine is not None and its:
                ratios.append(mine / its)
        return ratios


def read(sample, field):
    if field == "cpu_s":
        return sample["user_s"] + sample["system_s"]
    return sample.get(field)


def spread(values, scale=1.0, digits=2):
    """Writes median and range."""
    if not values:
        return "–"
    low, middle, high = (f"{value / scale:.{digits}f}"
                         for value in (min(values), median(values), max(values)))
    return middle if low == high else f"{middle} ({low}–{high})"


def only_median(values, scale=1.0, digits=2):
    return f"{median(values) / scale:.{digits}f}" if values else "–"


def amount(values):
    """Writes the median of byte counts that may be anything from nothing to gigabytes."""
    if not values:
        return "–"
    middle = median(values)
    if abs(middle) < 1 << 10:
        return f"{middle:.0f} B"
    return f"{middle / 1024:.1f} KiB" if abs(middle) < MIB else f"{middle / MIB:.1f} MiB"


def measurement_table(samples, tools):
    """Returns header and rows: what every operation cost every tool."""
    header = ["operation", "tool", "rounds", "wall s", "CPU s", "RSS MiB", "repository MiB",
              "added", "sync after s"]
    rows = []
    for operation in OPERATIONS:
        for tool in tools:
            def values(field):
                return samples.values(operation, tool, field)
            if not values("wall_s"):
                continue
            rows.append([
                OPERATION_NAMES[operation], tool, str(len(values("wall_s"))),
                spread(values("wall_s")), spread(values("cpu_s")),
                spread(values("rss_bytes"), MIB, 0),
                only_median(values("repository_bytes"), MIB, 1),
                amount(values("added_bytes")), only_median(values("sync_s")),
            ])
    return header, rows


def ratio_table(samples, subject, others):
    """Returns header and rows: the subject's cost as a share of each other tool's."""
    header = ["operation", "ratio", "wall", "CPU", "RSS", "repository", "added"]
    fields = ["wall_s", "cpu_s", "rss_bytes", "repository_bytes", "added_bytes"]
    rows = []
    for operation in OPERATIONS:
        for other in others:
            cells = [ratio(samples, operation, subject, other, field) for field in fields]
            if cells[0] != "–":
                rows.append([OPERATION_NAMES[operation], f"{subject} / {other}", *cells])
    return header, rows


def ratio(samples, operation, subject, other, field):
    """Writes the ratio of the medians and, in brackets, the range of the ratios per round."""
    mine = samples.values(operation, subject, field)
    its = samples.values(operation, other, field)
    rounds = samples.round_ratios(operation, subject, other, field)
    # So little is bookkeeping; a ratio of two such numbers would say nothing.
    bookkeeping = field == "added_bytes" and median(its or [0]) < ADDED_BYTES_MIN
    if not rounds or median(its) <= 0 or bookkeeping:
        return "–"
    return f"{median(mine) / median(its):.2f} [{min(rounds):.2f}–{max(rounds):.2f}]"


def plain(table):
    """Writes a table for a terminal."""
    header, rows = table
    widths = [max(map(len, column)) for column in zip(header, *rows)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip()
             for row in [header, *rows]]
    return "\n".join(f"  {line}" for line in lines)


def markdown(table):
    """Writes a table for a document: names left, numbers right."""
    header, rows = table
    rule = ["---" if name in ("operation", "tool", "ratio") else "---:" for name in header]
    return "\n".join("| " + " | ".join(row) + " |" for row in [header, rule, *rows])


def disturbance(samples, cores):
    """Says how much of the machine others used in the worst run."""
    def share(sample, field):
        return sample[field] / max(0.01, sample["wall_s"] * cores)
    # Clock ticks are too coarse for the shortest runs.
    long = [sample for sample in samples
            if sample["wall_s"] >= 1 and sample["operation"] in OPERATIONS]
    if not long:
        return "All runs were too short to tell how much other work disturbed them."
    foreign = max(long, key=lambda sample: share(sample, "foreign_cpu_s"))
    steal = max(long, key=lambda sample: share(sample, "steal_s"))
    middle = median(share(sample, "foreign_cpu_s") for sample in long)
    return (f"Other work, the kernel's writers included, had {middle:.0%} of the processors in the "
            f"median run and {share(foreign, 'foreign_cpu_s'):.0%} in the worst "
            f"({foreign['tool']}, {foreign['operation']}, round {foreign['round']}); "
            f"the hypervisor withheld at most {share(steal, 'steal_s'):.0%}.")


def corpus_title(corpus):
    changes = ", ".join(f"{count} {what}" for what, count in corpus["changes"].items())
    return (f"{corpus['description']}: {corpus['files']} files, {corpus['bytes'] / MIB:.1f} MiB. "
            f"Changed version: {changes}.")


def ratio_tools(results):
    """Returns the tool whose ratios are shown and the tools it is compared with."""
    subject = results["subject"]
    tools = list(results["tools"])
    return subject, [tool for tool in tools if subject in tools and tool != subject]


def corpus_samples(results, name):
    return [sample for sample in results["samples"] if sample["corpus"] == name]


def terminal_report(results, name):
    """Returns one corpus's tables for a terminal."""
    runs = corpus_samples(results, name)
    samples = Samples(runs)
    subject, others = ratio_tools(results)
    parts = [f"{name}: {corpus_title(results['corpora'][name])}",
             plain(measurement_table(samples, results["tools"]))]
    if others:
        parts.append(plain(ratio_table(samples, subject, others)))
    parts.append("  " + disturbance(runs, results["machine"]["cores"]))
    return "\n\n".join(parts)


def markdown_report(results):
    """Returns the whole document."""
    host = results["machine"]
    subject, others = ratio_tools(results)
    source = f", source at commit {host['commit']}" if host["commit"] else ""
    lines = [
        "# Benchmarks",
        "",
        f"Written by `{shlex.join(results['command'])}` on {host['date']}{source}.",
        "`bench/README.md` tells how to repeat it, what is measured and what is not.",
        "",
        "| | |",
        "|---|---|",
        f"| processor | {host['processor']}, {host['cores']} cores |",
        f"| memory | {host['memory_bytes'] / GIB:.1f} GiB |",
        f"| system | {host['distribution']}, {host['kernel']} |",
        f"| measured on | {results['measured_on']} |",
        f"| load at start | {host['load_at_start']:.2f} |",
    ]
    for name, tool in results["tools"].items():
        lines.append(f"| {name} | {tool['version']}; {tool['settings']} |")
    lines += [
        "",
        "Median (lowest–highest) of the rounds. CPU is user and system time; RSS the peak; "
        "*sync after* what the kernel still had to write when the tool said it was done.",
    ]
    if others:
        lines.append("Ratios are of the medians, in brackets the range of the ratios round by "
                     f"round; below 1 {subject} needs less.")
    for name, corpus in results["corpora"].items():
        runs = corpus_samples(results, name)
        samples = Samples(runs)
        lines += ["", f"## {name}", "", corpus_title(corpus), "",
                  markdown(measurement_table(samples, results["tools"]))]
        if others:
            lines += ["", markdown(ratio_table(samples, subject, others))]
        lines += ["", disturbance(runs, host["cores"])]
    lines += ["", "## Were the restores right?", "", *verdict(results), ""]
    return "\n".join(lines)


def verdict(results):
    """Says what was compared and what failed."""
    restores = [sample for sample in results["samples"] if sample["operation"] == "restore"]
    right = sum(1 for sample in restores if not sample["differences"])
    owner = ", owner" if results["owner_compared"] else ""
    lines = [f"{right} of {len(restores)} restores equal their source in names, types, content, "
             f"permissions{owner}, modification times to the nanosecond and symlink targets."]
    for failure in results["failures"] + results["notes"]:
        lines.append(f"- {failure}")
    return lines
