"""cgroups named and made as by systemd: by somebody who is neither the runtime nor anything it forked."""

import os
import threading
from pathlib import Path

from demo.leftovers import hierarchies

PARENTS = "/kubepods.slice/kubepods-burstable.slice"
# What runc makes of `slice:prefix:id` with the systemd driver.
PATH_OF_SCOPE = r's#"cgroupsPath":"\([^":]*\.slice\):\([^":]*\):\([^":]*\)"#"cgroupsPath":"PARENTS/\1/\2-\3.scope"#'
# Asks for the directories, and waits until they are there, as runc does.
RUNTIME = r"""#!/bin/sh
for word; do
  [ "$before" = --bundle ] && specification=$word/config.json
  before=$word
done
if [ -n "$specification" ]; then
  sed -i 'PATH_OF_SCOPE' "$specification"
  sed 's/.*"cgroupsPath":"\([^"]*\)".*/\1/' "$specification" > DIRECTORY/wanted
  read -r made < DIRECTORY/made
fi
exec /usr/sbin/runc "$@"
"""


def slice_of(uid: str) -> str:
    """Return the cgroup parent that a kubelet with the systemd driver asks for."""
    return f"{PARENTS}/kubepods-burstable-pod{uid.replace('-', '_')}.slice"


def systemd_runtime(directory: Path) -> Path:
    """Return a wrapper of runc whose containers get cgroups named as systemd names them, made by this process."""
    program = directory / "runc-systemd-names"
    script = RUNTIME.replace("PATH_OF_SCOPE", PATH_OF_SCOPE.replace("PARENTS", PARENTS))
    program.write_text(script.replace("DIRECTORY", str(directory)))
    program.chmod(0o755)
    for name in ("wanted", "made"):
        os.mkfifo(directory / name)
    threading.Thread(target=_serve, args=(directory,), daemon=True).start()
    return program


def _serve(directory: Path) -> None:
    while True:
        path = (directory / "wanted").read_text().strip()
        for root in hierarchies():
            (root / path.lstrip("/")).mkdir(parents=True, exist_ok=True)
        (directory / "made").write_text("made\n")
