#!/usr/bin/env bash
# wasm_examples.sh - make the modules of examples/wasm/ again from their sources, and print their digests.
# Fetches both compilers, in the versions that the committed modules were made with, from PyPI and npm.
set -euo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)/examples/wasm
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Another one that has ziglang, or the same compiler elsewhere, is given as ZIG_PYTHON and ASC.
if [[ -z ${ZIG_PYTHON:-} ]]; then
    python3 -m venv "$work/zig"
    "$work/zig/bin/pip" install -q ziglang==0.17.1
    ZIG_PYTHON=$work/zig/bin/python
fi
if [[ -z ${ASC:-} ]]; then
    npm install --silent --prefix "$work/npm" assemblyscript@0.28.20
    ASC=$work/npm/node_modules/.bin/asc
fi

cd "$here"
"$ZIG_PYTHON" -m ziglang cc -target wasm32-freestanding -nostdlib -Os -msimd128 -Wl,--no-entry,-z,stack-size=16384 -o tally_c.wasm tally.c
"$ASC" tally.ts -O3 --enable simd --runtime stub --use abort= -o tally_as.wasm
chmod 644 ./*.wasm
python3 -c "
import blake3, pathlib
for path in sorted(pathlib.Path('.').glob('*.wasm')):
    print(path.name, blake3.blake3(path.read_bytes()).hexdigest())
"
