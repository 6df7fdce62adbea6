# Shell functions shared by bin/install.sh and test/run.sh: install what is missing, ask nothing.

# need_node: stops unless Node 20 or newer is there.
need_node() {
  if ! command -v node >/dev/null || [ "$(node -p 'process.versions.node.split(".")[0]')" -lt 20 ]; then
    echo "grind needs Node 20 or newer on the PATH: install it from https://nodejs.org or your distribution." >&2
    exit 1
  fi
}

# need_packages PACKAGE:WITNESS…: installs each package whose witness, a command or a file, is missing.
need_packages() {
  missing=
  for pair in "$@"; do
    witness=${pair#*:}
    case $witness in
      /*) [ -e "$witness" ] || missing="$missing ${pair%%:*}" ;;
      *) command -v "$witness" >/dev/null || missing="$missing ${pair%%:*}" ;;
    esac
  done
  [ -n "$missing" ] || return 0
  if ! command -v apt-get >/dev/null; then
    echo "Please install:$missing (apt-get, which would do it here, is not available)." >&2
    exit 1
  fi
  root=
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "Installing$missing needs root: run this again as root, or install them yourself." >&2
      exit 1
    fi
    root=sudo
  fi
  echo "Installing:$missing" >&2
  export DEBIAN_FRONTEND=noninteractive
  $root apt-get update -qq </dev/null
  # shellcheck disable=SC2086
  $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing </dev/null >/dev/null
}
