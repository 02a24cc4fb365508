# shellcheck shell=bash
# pieces [ARGS] <<'END'   run a Python program which has pieces.py before it
pieces() {
    { cat "$ROOT/tests/pieces.py" && cat; } | py "$@"
}
