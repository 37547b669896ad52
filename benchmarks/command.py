"""The arguments that every script takes: --quick and --json."""

from __future__ import annotations

import argparse


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with the paragraph of the script, --quick and --json."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--quick", action="store_true", help="less than a minute; RESULTS.md is left as it is")
    made.add_argument("--json", metavar="PATH", help="write what was measured to a file as well")
    return made
