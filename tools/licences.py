#!/usr/bin/env python3
"""Checks where the workspace's dependencies come from and under which licences.

Looks at every normal and build dependency of every workspace member, for all targets, as
`cargo metadata --locked` resolves them, and prints one line per violation:

  source   not from crates.io and not a path inside the workspace
  licence  none given, not an SPDX expression, or not satisfied by ALLOWED_LICENCES
  banned   named in BANNED_CRATES

Two versions of one crate are a warning, and a violation only past --duplicates-max.

Exit codes: 0 nothing found, 1 violations, 2 wrong arguments or cargo failed.
It stands in for `cargo deny check bans licenses sources` and needs only Python and cargo.
"""

import argparse
import json
import re
import subprocess
import sys
from collections import defaultdict, deque
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# A source replacement changes where cargo downloads from, never what metadata prints here.
ALLOWED_SOURCES = {
    "registry+https://github.com/rust-lang/crates.io-index",
    "sparse+https://index.crates.io/",
}

# MPL-2.0 is absent because nothing needs it: it would oblige whoever ships the binary to
# offer the source of the files under it.
ALLOWED_LICENCES = {
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BlueOak-1.0.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unicode-DFS-2016",
    "Unlicense",
    "Zlib",
}

# Licences allowed for one crate alone.
LICENCE_EXCEPTIONS = {
    # Some releases of AWS-LC name the licence of the OpenSSL code it descends from.
    "aws-lc-sys": {"OpenSSL"},
}

BANNED_CRATES = {
    "curl-sys": "a C library from the system; HTTP is done in Rust",
    "libssh2-sys": "a C library; SFTP goes through the system's ssh",
    "native-tls": "a second TLS; rustls on aws-lc is the one",
    "openssl": "a second crypto library; aws-lc is the one",
    "openssl-sys": "a second crypto library; aws-lc is the one",
    "atty": "unmaintained (RUSTSEC-2024-0375); std::io::IsTerminal does it",
    "failure": "unmaintained (RUSTSEC-2020-0036); thiserror does it",
    "instant": "unmaintained (RUSTSEC-2024-0384)",
    "net2": "unmaintained (RUSTSEC-2020-0016)",
}


class LicenceError(ValueError):
    """An expression that is not SPDX."""


def satisfied(expression, allowed):
    """Tells whether some choice among the expression's alternatives is allowed throughout.

    Knows OR, AND, WITH, parentheses, the `+` suffix, and cargo's old `/` for OR.
    """
    tokens = re.findall(r"[()/]|[^\s()/]+", expression)
    position = 0

    def peek():
        return tokens[position] if position < len(tokens) else None

    def advance():
        nonlocal position
        token = peek()
        position += 1
        return token

    # Both sides are always read, so that a broken right side is found behind a true left.
    def alternatives():
        result = requirements()
        while peek() in ("OR", "/"):
            advance()
            result = requirements() or result
        return result

    def requirements():
        result = term()
        while peek() == "AND":
            advance()
            result = term() and result
        return result

    def term():
        token = advance()
        if token == "(":
            result = alternatives()
            if advance() != ")":
                raise LicenceError("a parenthesis is not closed")
            return result
        name = identifier(token)
        if peek() == "WITH":
            advance()
            # An exception only adds rights, but the list names what was looked at.
            return f"{name} WITH {identifier(advance())}" in allowed
        return name in allowed or name.removesuffix("+") in allowed

    def identifier(token):
        if token is None:
            raise LicenceError("it ends where a licence is expected")
        if token in ("OR", "AND", "WITH") or not re.fullmatch(r"[A-Za-z0-9.:-]+\+?", token):
            raise LicenceError(f"{token!r} stands where a licence is expected")
        return token

    result = alternatives()
    if position < len(tokens):
        raise LicenceError(f"{peek()!r} is left over")
    return result


def cargo_metadata(arguments):
    """Returns what `cargo metadata` prints, or what it printed earlier into --metadata."""
    if arguments.metadata:
        return json.loads(Path(arguments.metadata).read_text(encoding="utf-8"))
    command = ["cargo", "metadata", "--format-version", "1", "--locked"]
    command += ["--offline"] if arguments.offline else []
    answer = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    return json.loads(answer.stdout)


def shipped(metadata):
    """Returns the ids of what normal and build dependencies reach, each with its parent's id."""
    edges = {node["id"]: node["deps"] for node in metadata["resolve"]["nodes"]}
    parents = {member: None for member in metadata["workspace_members"]}
    queue = deque(sorted(parents))
    while queue:
        package = queue.popleft()
        for dependency in edges[package]:
            kinds = {kind["kind"] for kind in dependency["dep_kinds"]}
            if dependency["pkg"] not in parents and kinds & {None, "normal", "build"}:
                parents[dependency["pkg"]] = package
                queue.append(dependency["pkg"])
    return parents


def source_violation(package, workspace_root):
    """Returns what is wrong with where the package comes from, or None."""
    if package["source"] in ALLOWED_SOURCES:
        return None
    if package["source"] is not None:
        return f"source: {package['source']} is not crates.io"
    folder = Path(package["manifest_path"]).parent
    if folder.is_relative_to(workspace_root):
        return None
    return f"source: the path {folder} is outside the workspace"


def licence_violation(package):
    """Returns what is wrong with the package's licence, or None."""
    expression = package["license"]
    if not expression:
        return f"licence: none given (license-file: {package['license_file']})"
    try:
        allowed = ALLOWED_LICENCES | LICENCE_EXCEPTIONS.get(package["name"], set())
        if satisfied(expression, allowed):
            return None
        return f"licence: {expression} is not satisfied by the allow list"
    except LicenceError as error:
        return f"licence: {expression!r} is not an SPDX expression: {error}"


def banned_violation(package):
    """Returns why the package is banned, or None."""
    reason = BANNED_CRATES.get(package["name"])
    return reason and f"banned: {reason}"


def chain(package_id, parents, packages):
    """Names the way from a workspace member to the package."""
    names = []
    while package_id is not None:
        names.append(packages[package_id]["name"])
        package_id = parents[package_id]
    return " > ".join(reversed(names))


def check(metadata):
    """Returns violations, duplicates (name to sorted versions) and how many packages there are."""
    packages = {package["id"]: package for package in metadata["packages"]}
    parents = shipped(metadata)
    workspace_root = Path(metadata["workspace_root"])
    violations = []
    versions = defaultdict(set)
    for package_id in sorted(parents, key=lambda each: (packages[each]["name"], each)):
        package = packages[package_id]
        versions[package["name"]].add(package["version"])
        found = (
            source_violation(package, workspace_root),
            licence_violation(package),
            banned_violation(package),
        )
        for violation in filter(None, found):
            way = chain(package_id, parents, packages)
            violations.append(f"{package['name']} {package['version']}: {violation} ({way})")
    duplicates = {name: sorted(each) for name, each in versions.items() if len(each) > 1}
    return violations, duplicates, len(parents)


def self_test():
    """Checks the evaluator and, on a made-up workspace, the rules."""
    allowed = {"MIT", "Apache-2.0", "Apache-2.0 WITH LLVM-exception", "ISC", "Unicode-3.0"}
    cases = {
        "MIT": True,
        "GPL-3.0-only": False,
        "MIT OR GPL-3.0-only": True,
        "GPL-3.0-only OR MIT": True,
        "GPL-3.0-only/MIT": True,
        "MIT / Apache-2.0": True,
        "MIT AND GPL-3.0-only": False,
        "GPL-3.0-only AND MIT": False,
        # AND binds tighter than OR.
        "MIT OR GPL-3.0-only AND BSD-4-Clause": True,
        "GPL-3.0-only AND BSD-4-Clause OR MIT": True,
        "(MIT OR GPL-3.0-only) AND BSD-4-Clause": False,
        "(MIT OR Apache-2.0) AND Unicode-3.0": True,
        "((MIT))": True,
        "Apache-2.0 WITH LLVM-exception": True,
        # A list that allows the licence bare says nothing about an exception, and the reverse.
        "MIT WITH LLVM-exception": False,
        "Apache-2.0 WITH Classpath-exception-2.0 OR ISC": True,
        "Apache-2.0+": True,
        "mit": False,
        "": LicenceError,
        "MIT OR": LicenceError,
        "(MIT": LicenceError,
        "MIT)": LicenceError,
        "MIT Apache-2.0": LicenceError,
        "MIT AND OR ISC": LicenceError,
        "MIT OR (ISC AND)": LicenceError,
        "MIT WITH": LicenceError,
        "see LICENSE": LicenceError,
        "MIT, ISC": LicenceError,
    }
    failures = []
    for expression, expected in cases.items():
        try:
            found = satisfied(expression, allowed)
        except LicenceError:
            found = LicenceError
        if found is not expected:
            failures.append(f"{expression!r}: expected {expected}, found {found}")

    registry = "registry+https://github.com/rust-lang/crates.io-index"
    rows = [
        # id, name, source, licence, manifest, what it depends on and how
        ("own", "own", None, "MIT", "/w/own/Cargo.toml",
         [("good1", None), ("tests", "dev"), ("git", "build"), ("far", None)]),
        ("good1", "good", registry, "MIT", "/r/Cargo.toml", [("good2", None)]),
        ("good2", "good", registry, "ISC", "/r/Cargo.toml", [("openssl-sys", None)]),
        ("openssl-sys", "openssl-sys", registry, "MIT", "/r/Cargo.toml", []),
        ("tests", "tests", registry, "GPL-3.0-only", "/r/Cargo.toml", []),
        ("git", "git", "git+https://example.org/git", None, "/r/Cargo.toml", []),
        ("far", "far", None, "GPL-3.0-only", "/elsewhere/far/Cargo.toml", []),
    ]
    metadata = {"workspace_root": "/w", "workspace_members": ["own"], "packages": [],
                "resolve": {"nodes": []}}
    for number, (package_id, name, source, licence, manifest, dependencies) in enumerate(rows):
        metadata["packages"].append({
            "id": package_id, "name": name, "version": f"1.0.{number}", "source": source,
            "license": licence, "license_file": None, "manifest_path": manifest})
        metadata["resolve"]["nodes"].append({"id": package_id, "deps": [
            {"pkg": pkg, "dep_kinds": [{"kind": kind}]} for pkg, kind in dependencies]})
    violations, duplicates, count = check(metadata)
    expected = [
        "far 1.0.6: source: the path /elsewhere/far is outside the workspace (own > far)",
        "far 1.0.6: licence: GPL-3.0-only is not satisfied by the allow list (own > far)",
        "git 1.0.5: source: git+https://example.org/git is not crates.io (own > git)",
        "git 1.0.5: licence: none given (license-file: None) (own > git)",
        "openssl-sys 1.0.3: banned: a second crypto library; aws-lc is the one"
        " (own > good > good > openssl-sys)",
    ]
    if (violations, duplicates, count) != (expected, {"good": ["1.0.1", "1.0.2"]}, 6):
        failures.append(f"rules: found {violations}, {duplicates}, {count}")

    for failure in failures:
        print(failure)
    print(f"self-test: {len(cases) + 1} cases, {len(failures)} failed", file=sys.stderr)
    return 1 if failures else 0


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--self-test", action="store_true",
                        help="check this script instead of the workspace")
    parser.add_argument("--offline", action="store_true", help="passed on to cargo")
    parser.add_argument("--metadata", metavar="FILE",
                        help="read what cargo metadata printed from FILE")
    parser.add_argument("--duplicates-max", type=int, metavar="N",
                        help="more crates than this in two or more versions are a violation")
    arguments = parser.parse_args()
    if arguments.self_test:
        return self_test()
    try:
        metadata = cargo_metadata(arguments)
    except (OSError, subprocess.CalledProcessError, json.JSONDecodeError) as error:
        print(f"error: cannot read the dependencies: {error}", file=sys.stderr)
        return 2
    violations, duplicates, count = check(metadata)
    for name, versions in sorted(duplicates.items()):
        print(f"warning: {name} in {len(versions)} versions: {', '.join(versions)}",
              file=sys.stderr)
    limit = arguments.duplicates_max
    if limit is not None and len(duplicates) > limit:
        violations.append(f"duplicates: {len(duplicates)} crates, at most {limit} allowed")
    for violation in violations:
        print(violation)
    print(f"licences: {count} packages, {len(violations)} violations, "
          f"{len(duplicates)} in more than one version", file=sys.stderr)
    return 1 if violations else 0


if __name__ == "__main__":
    sys.exit(main())
