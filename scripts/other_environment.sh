#!/usr/bin/env bash
# other_environment.sh NUMBER [PYTEST ARGUMENT...] - run `tests/` in an environment unlike a newcomer's.
# In turn, by NUMBER: the lowest versions of all dependencies, Python 3.12, Python 3.13. A Python that
# this machine neither has nor can get is named, and the lowest versions are tried instead.
set -euo pipefail

number=${1:?a number: which environment, in turn}
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

uv=$(command -v uv || true)
if [[ -z $uv ]]; then
    python3 -m venv "$work/uv"
    "$work/uv/bin/pip" install -q uv
    uv=$work/uv/bin/uv
fi

# A Python of that version that starts: on the PATH, of pyenv, or what uv can download.
find_python() {
    local found
    for found in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python3; do
        if [[ -x $found ]] && "$found" -c '' 2>/dev/null; then
            echo "$found"
            return
        fi
    done
    timeout 120 "$uv" python install -q "$1" 2>/dev/null && "$uv" python find --managed-python "$1"
}

# The system's own Python is often of an older patch release.
resolution=lowest-direct python=$(command -v python3)
if /usr/bin/python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=/usr/bin/python3
fi
if ((number % 3)); then
    version=3.$((11 + number % 3))
    if other=$(find_python "$version"); then
        resolution=highest python=$other
    else
        echo "no Python $version here, and none to download: the lowest versions of all dependencies instead"
    fi
fi

"$uv" venv -q --python "$python" "$work/env"
"$uv" pip install -q --python "$work/env" --resolution "$resolution" -e '.[test]'
python=$work/env/bin/python
echo "== tests with $("$python" --version), $resolution versions of all dependencies"
# On a disk; otherwise they run in memory.
export TMPDIR=${TMPDIR:-/tmp}
"$python" -m pytest -n 2 -p no:cacheprovider "$@"
