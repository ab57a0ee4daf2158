"""Units that defaults are written in."""

MIB = 1024 * 1024
