#!/usr/bin/env bash
# A walk through lsmcli on real data: every named character of Unicode. `make demo` runs it with everything set up.
# Each command is printed before its output, so that it can be typed again.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

build=${DEMO_BUILD:-build}
file=$build/unicode.lsm
names=$build/unicode.jsonl
mkdir -p "$build"
rm -f "$file"

say() { printf '\n# %s\n' "$*"; }

# Prints a command as one would type it (a word with anything special in it in quotes), then runs it.
run() {
    local word line='$'
    for word in "$@"; do
        if [[ $word =~ ^[A-Za-z0-9_./:=+@%,-]+$ ]]; then line+=" $word"; else line+=" '$word'"; fi
    done
    printf '%s\n' "$line"
    "$@" 2>&1
}

# For a command whose answer is no: shows its exit code.
run_expecting() {
    local expected=$1 code=0
    shift
    run "$@" || code=$?
    printf '(exit code %s)\n' "$code"
    [[ $code == "$expected" ]]
}

say "The names of Unicode, out of Python's standard library, as JSON lines"
python unicode_names.py > "$names"
run wc -l "$names"
run sed -n '/1F600/p' "$names"

say "Into a data file: one file, written as a whole or not at all"
run lsmcli "$file" import "$names"
run lsmcli "$file" count

say "One character, and one that is not there"
run lsmcli "$file" get U+1F600 U+2167
run_expecting 1 lsmcli "$file" get U+FFFF

say "A prefix is a range: the faces of a die stand at U+2680 to U+2685"
run lsmcli "$file" scan --prefix U+268 --limit 6

say "A change, synced before the command ends"
run lsmcli "$file" put U+E000 '{"name": "MY OWN SIGN", "category": "Co"}'
run lsmcli "$file" get U+E000

say "A scope: begun in one process, changed in a second and third, undone in a fourth"
run lsmcli "$file" scope begin
run lsmcli "$file" delete --prefix U+26 --yes
run lsmcli "$file" put U+E000 'something else'
run lsmcli "$file" scope status
run lsmcli "$file" count --prefix U+26
run lsmcli "$file" count --prefix U+26 --committed
run lsmcli "$file" scope discard
run lsmcli "$file" count --prefix U+26
run lsmcli "$file" get U+E000

say "What the tree looks like, before and after compaction"
run lsmcli "$file" inspect-levels
run lsmcli "$file" compact
run lsmcli "$file" inspect-levels

say "Every checksum, order and reference in the file"
run lsmcli "$file" verify

path=$(realpath "$file")
path=${path#"$(realpath ..)/"}
printf '\nThe file is %s (%s bytes). Go on with: .venv/bin/lsmcli %s scan --prefix U+1F4\n' "$path" "$(wc -c < "$file")" "$path"
