"""Why a deployment did not come up, out of what Ray Serve says about it."""

from __future__ import annotations

import re


class DeploymentFailed(Exception):
    """The worker could not be started here, or it gave up."""


def reason(told: list[str]) -> str:
    """What went wrong in a replica: the end of the traceback that Ray Serve passes on as its message."""
    found = [m for message in told for m in re.finditer(r"^[\w.]*(?:Error|Exception)\b.*", message, re.MULTILINE)]
    return found[-1].string[found[-1].start() :].strip() if found else ""
