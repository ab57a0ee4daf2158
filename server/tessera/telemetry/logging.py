"""Structured logs on standard error: one line an event, JSON unless a person is watching.

What others write goes the same way: the standard library's ``logging``, which uvicorn and asyncio use, its warnings,
and errors that nothing caught.
"""

from __future__ import annotations

import logging
import sys
import threading
from types import TracebackType

import structlog

from tessera.settings import Settings

log = structlog.get_logger()

# The most talkative first.
LEVELS = ("debug", "info", "warning", "error")


def configure(settings: Settings) -> None:
    """Set the level and the format for this process."""
    people = settings.log_format == "console" or (settings.log_format == "auto" and sys.stderr.isatty())
    level = logging.getLevelName(settings.log_level.upper())
    renderer: structlog.typing.Processor = structlog.processors.JSONRenderer()
    if people:
        # Its default prints local variables too: whole request bodies.
        renderer = structlog.dev.ConsoleRenderer(pad_event_to=20, exception_formatter=structlog.dev.plain_traceback)
    described: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso"),
        structlog.processors.format_exc_info if not people else structlog.processors.StackInfoRenderer(),
    ]
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, *described, renderer],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        # Each line asks anew what is to be written, so that it can be changed (about 2 µs).
        cache_logger_on_first_use=False,
    )
    _adopt_standard_logging(level, described, renderer)
    if not people:
        _adopt_uncaught_errors()


def set_level(name: str) -> None:
    """Change the least severe level that this process logs, one of ``LEVELS``."""
    level = logging.getLevelName(name.upper())
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))
    logging.getLogger().setLevel(_of_libraries(level))


def _of_libraries(level: int) -> int:
    # Libraries tell at `info` what they do at every request.
    return max(level, logging.WARNING)


def _adopt_standard_logging(
    level: int, described: list[structlog.typing.Processor], renderer: structlog.typing.Processor
) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *described],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=_of_libraries(level), force=True)
    logging.captureWarnings(True)


def _adopt_uncaught_errors() -> None:
    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            sys.__excepthook__(kind, error, trace)
        else:
            log.critical("process_failed", exc_info=error)

    def uncaught_in_thread(args: threading.ExceptHookArgs) -> None:
        # A thread that only calls `sys.exit` ends as it should.
        if args.exc_value is not None and not isinstance(args.exc_value, SystemExit):
            log.error("thread_failed", thread=args.thread.name if args.thread else None, exc_info=args.exc_value)

    def unraisable(args: sys.UnraisableHookArgs) -> None:
        log.error("error_ignored", where=args.err_msg, object=repr(args.object), exc_info=args.exc_value)

    sys.excepthook = uncaught
    threading.excepthook = uncaught_in_thread
    sys.unraisablehook = unraisable
