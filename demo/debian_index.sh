#!/usr/bin/env bash
# The Debian package index into a data file, asked a few questions, written out again, and compared.
# demo/debian_index.sh            the packages that this system knows (some 60,000; needs apt-cache and lsmcli)
# demo/debian_index.sh FILE       stanzas that `apt-cache dumpavail` has written to a file
# Each command is printed before its output, so that it can be typed again.
set -euo pipefail
if [[ $# -gt 0 ]]; then stanzas=$(realpath "$1"); fi
cd "$(dirname "${BASH_SOURCE[0]}")"

build=${DEMO_BUILD:-build}
mkdir -p "$build"
cd "$build"
rm -f debian.lsm copy.lsm packages.jsonl exported.jsonl copied.jsonl

say() { printf '\n# %s\n' "$*"; }

# Prints a command line as one would type it, then runs it.
run() {
    printf '$ %s\n' "$1"
    bash -euo pipefail -c "$1" 2>&1
}

source_command=${stanzas:+cat "$(printf '%q' "$stanzas")"}

say "Stanzas become JSON lines: one object for each, its fields as members"
run "${source_command:-apt-cache dumpavail} | python3 -c 'import json, re, sys; [print(json.dumps(dict(re.findall(r\"^([^\s:]+): ?(.*(?:\n[ \t].*)*)\", s, re.M)))) for s in sys.stdin.read().split(\"\n\n\") if s.strip()]' > packages.jsonl"
run "wc -l packages.jsonl"

say "Into a data file, under the name of the package; of a package in several versions the last one counts"
run "lsmcli debian.lsm import --key-column Package --value-column '*' packages.jsonl"
run "lsmcli debian.lsm count"

say "Questions: one package, a prefix, a range"
run "lsmcli debian.lsm get bash | python3 -c 'import json, sys; print(json.load(sys.stdin)[\"Version\"])'"
run "lsmcli debian.lsm scan --keys-only --prefix libsql --limit 5"
run "lsmcli debian.lsm count --from a --to b"

say "Out again, with the objects as they are, and into another file: both say the same"
run "lsmcli debian.lsm export --value-format json exported.jsonl"
run "lsmcli copy.lsm import --value-format json exported.jsonl"
run "lsmcli copy.lsm export --value-format json copied.jsonl"
run "cmp exported.jsonl copied.jsonl && echo the same"

say "And what came out is what went in, package by package and field by field"
run "python3 -c 'import json
put = {row[\"Package\"]: row for row in map(json.loads, open(\"packages.jsonl\"))}
got = {row[\"key\"]: row[\"value\"] for row in map(json.loads, open(\"exported.jsonl\"))}
assert put == got
print(len(got), \"packages, all equal\")'"

say "Every checksum, order and reference in the file"
run "lsmcli debian.lsm verify"
