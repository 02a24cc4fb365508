# shellcheck shell=bash
# pieces [ARGS] <<'END'   run a Python program that has the names of pieces.py
pieces() { "$PYTHON" -EsB "${BASH_SOURCE[0]%/*}/pieces.py" "$@"; }
