"""Units that defaults are written in."""

KIB = 1024
MIB = 1024 * KIB
