#!/usr/bin/env bash
# Make .venv with everything in it, from the hashed lock, and the `foreshock` command beside it.
#
# uv does it where it is installed; otherwise python's own venv and pip. PYTHON=… chooses the
# interpreter. Where a part of the system is missing, this says what to install and exits 3.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly FITS='import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))'
readonly GOMP='import ctypes; ctypes.CDLL("libgomp.so.1")'

say() { printf 'setup: %s\n' "$*" >&2; }
fits() { "$1" -c "$FITS" >/dev/null 2>&1; }
has() { command -v "$1" >/dev/null 2>&1; }

# An interpreter is tried by running it: a shim may bear the name and have nothing behind it.
find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3.12 python3.11 python3 python; do
        if fits "$candidate"; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    if has uv; then
        uv python find --no-python-downloads '>=3.11,<3.13' 2>/dev/null
    fi
}

missing=()
python=$(find_python || true)
if [[ -z $python ]]; then
    missing+=("Python 3.11 or 3.12     apt-get install python3.11 python3.11-venv")
elif ! "$python" -c "$GOMP" 2>/dev/null; then
    missing+=("libgomp.so.1 (LightGBM)  apt-get install libgomp1")
fi
if [[ -n $python ]] && ! has uv && ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    missing+=("venv and pip            apt-get install python$version-venv (or install uv)")
fi
has make || missing+=("make                    apt-get install make")
if ((${#missing[@]})); then
    say "something is missing on this machine:"
    printf '  %s\n' "${missing[@]}" >&2
    exit 3
fi

if ! fits .venv/bin/python; then
    say "making .venv with $("$python" --version) ($python)"
    rm -rf .venv
    if has uv; then
        uv venv --quiet --no-python-downloads --python "$python" .venv
    else
        "$python" -m venv .venv
    fi
fi

say "installing what requirements.lock pins (minutes the first time)"
if has uv; then
    export VIRTUAL_ENV=$PWD/.venv
    uv pip sync --quiet --require-hashes requirements.lock
    uv pip install --quiet --no-deps --no-build-isolation --editable .
else
    .venv/bin/python -m pip --version >/dev/null 2>&1 || .venv/bin/python -m ensurepip >/dev/null
    pip=(.venv/bin/python -m pip --disable-pip-version-check install --quiet)
    "${pip[@]}" --require-hashes --requirement requirements.lock
    "${pip[@]}" --no-deps --no-build-isolation --editable .
fi
say "done; \`make demo\` runs it, \`make test\` proves it"
