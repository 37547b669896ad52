"""MathJax comes with the site: from the npm registry, once, into build/.

Where npm or the registry cannot be had, pages ask jsDelivr for it when they are read; without it they show their
equations in plain text.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

VERSION = "3.2.2"
NAME = "tex-svg.js"  # one file of 2 MB, letters and all
REMOTE = f"https://cdn.jsdelivr.net/npm/mathjax@{VERSION}/es5/{NAME}"
log = logging.getLogger("mkdocs.hooks.mathjax")


def fetch(into: Path) -> Path | None:
    """The script on this disk, or None where it cannot be had."""
    script, npm = into / f"mathjax-{VERSION}" / NAME, shutil.which("npm")
    if script.exists() or npm is None:
        return script if script.exists() else None
    script.parent.mkdir(parents=True, exist_ok=True)
    quick = ["--silent", "--fetch-retries=0", "--fetch-timeout=20000", f"--pack-destination={script.parent}"]
    try:
        subprocess.run([npm, "pack", f"mathjax@{VERSION}", *quick], check=True, capture_output=True, timeout=60)
        with tarfile.open(script.parent / f"mathjax-{VERSION}.tgz") as archive:
            held = archive.extractfile(f"package/es5/{NAME}")
            assert held is not None
            script.write_bytes(held.read())
    except (OSError, subprocess.SubprocessError, tarfile.TarError, KeyError) as problem:
        log.info("MathJax stays where it is, pages ask %s for it: %s", REMOTE, problem)
        return None
    (script.parent / f"mathjax-{VERSION}.tgz").unlink()
    return script


def on_files(files: Any, config: Any) -> Any:
    """Called by MkDocs when it has collected the files of the site."""
    script = fetch(Path(config.config_file_path).parent / "build")
    config.extra["mathjax"] = f"assets/{NAME}" if script else REMOTE
    if script:
        files.append(File.generated(config, f"assets/{NAME}", abs_src_path=str(script)))
    return files


def on_page_content(content: str, page: Any, **_: Any) -> str:
    """Called by MkDocs for every page: only where something is to be set, the scripts are asked for."""
    page.meta["math"] = 'class="arithmatex"' in content or 'class="equation"' in content
    return content
