"""Structured logs on standard error: one line an event, JSON unless a person is watching."""

from __future__ import annotations

import logging
import sys

import structlog

from tessera.settings import Settings


def configure(settings: Settings) -> None:
    """Set the level and the format for this process."""
    people = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if people:
        # Its default prints local variables too: whole request bodies.
        renderer = structlog.dev.ConsoleRenderer(pad_event_to=20, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info if not people else structlog.processors.StackInfoRenderer(),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.log_level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
