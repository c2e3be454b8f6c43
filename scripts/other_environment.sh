#!/usr/bin/env bash
# other_environment.sh NUMBER - run `tests/` in an environment unlike the one a newcomer gets.
# In turn, by NUMBER: the lowest versions of all dependencies, Python 3.12, Python 3.13. A Python that
# this machine does not have is named, and the lowest versions are tried instead.
set -euo pipefail

number=${1:?a number: which environment, in turn}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A Python of that version that starts, wherever it is installed.
find_python() {
    local found
    for found in "$(command -v "python$1" || true)" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$1".*/bin/python3; do
        if [[ -x $found ]] && "$found" -c '' 2>/dev/null; then
            echo "$found"
            return
        fi
    done
    return 1
}

resolution=lowest-direct python=$(command -v python3)
case $((number % 3)) in
1 | 2)
    version=3.$((11 + number % 3))
    if other=$(find_python "$version"); then
        resolution=highest python=$other
    else
        echo "no Python $version on this machine: the lowest versions of all dependencies instead"
    fi
    ;;
esac

echo "== tests with $("$python" --version), $resolution versions"
uv=$(command -v uv || true)
if [[ -z $uv ]]; then
    python3 -m venv "$work/uv"
    "$work/uv/bin/pip" install -q uv
    uv=$work/uv/bin/uv
fi
"$uv" venv -q --python "$python" "$work/env"
"$uv" pip install -q --python "$work/env" --resolution "$resolution" -e '.[test]'
"$work/env/bin/python" -m pytest -n 2 -p no:cacheprovider tests
