"""An HTTP/1.1 response and the SSE stream in it, parsed as little as it takes to trust a measurement."""

from __future__ import annotations

_HEAD_END = b"\r\n\r\n"
# JSON escapes line breaks, so no event can contain this.
_CHUNKS_END = b"\r\n0\r\n\r\n"
_CONTENT = b'"content":"'
_EMPTY_CONTENT = b'"content":""'
_DONE = b"data: [DONE]\n\n"
_TOKENS = b'"completion_tokens":'
_ID = b'"id":"chatcmpl-'
# What an error message shows of a response's body, in bytes.
_SHOWN = 200


class BadAnswer(Exception):
    """The answer is not the one that was asked for; the message says in what."""


class Response:
    """One response, fed with bytes as they arrive.

    Attributes:
        complete: the last byte has come.
        has_content: an SSE event with text that is not empty has come (its first bytes at least).
        status: 0 before the head has come.
    """

    __slots__ = ("_body_at", "_buffer", "_length", "complete", "has_content", "status")

    def __init__(self) -> None:
        self.complete = self.has_content = False
        self.status = 0
        self._buffer = bytearray()
        self._body_at = 0
        # Bytes of the body; None: it comes in chunks.
        self._length: int | None = None

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            BadAnswer: this is no HTTP/1.1 response whose end can be told.
        """
        self._buffer += data
        if not self._body_at and not self._read_head():
            return
        if not self.has_content:
            self.has_content = _content_events(self._buffer) > 0
        if self._length is None:
            # The two bytes before the body are a line break too, so an empty body is found as well.
            self.complete = self._buffer.endswith(_CHUNKS_END)
        else:
            self.complete = len(self._buffer) - self._body_at >= self._length

    @property
    def begun(self) -> bool:
        """Anything has come."""
        return bool(self._buffer)

    @property
    def job_id(self) -> str:
        """Under which a gateway queued it, which a chat's answer has in its id, whatever the gateway's version."""
        return self._buffer.partition(_ID)[2].partition(b'"')[0].decode()

    def check(self, tokens: int) -> int:
        """See whether a complete response is the whole stream that was asked for.

        Args:
            tokens: output tokens that its usage must report.

        Returns:
            How many of its events carried text: fewer than tokens where the server joined some.

        Raises:
            BadAnswer: it is not.
        """
        body = self._body()
        if self.status != 200:
            raise BadAnswer(f"status {self.status}: {_shown(body)}")
        if not body.endswith(_DONE):
            raise BadAnswer(f"stream without [DONE]: …{_shown(body[-_SHOWN:])}")
        at = body.rfind(_TOKENS) + len(_TOKENS)
        told = body[at : at + 10].partition(b",")[0].partition(b"}")[0] if at >= len(_TOKENS) else b""
        if told.strip() != b"%d" % tokens:
            raise BadAnswer(f"{told.decode(errors='replace') or 'no'} output tokens reported instead of {tokens}")
        if not (events := _content_events(body)):
            raise BadAnswer("stream without text")
        return events

    def _read_head(self) -> bool:
        end = self._buffer.find(_HEAD_END)
        if end < 0:
            return False
        self._body_at = end + len(_HEAD_END)
        first, *lines = bytes(self._buffer[:end]).split(b"\r\n")
        protocol, _, rest = first.partition(b" ")
        if protocol != b"HTTP/1.1" or not rest[:3].isdigit():
            raise BadAnswer(f"not HTTP/1.1: {_shown(first)}")
        self.status = int(rest[:3])
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines)}
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            return True
        if not (length := fields.get(b"content-length", b"")).isdigit():
            raise BadAnswer("neither chunked nor with a length")
        self._length = int(length)
        return True

    def _body(self) -> bytes:
        raw = bytes(self._buffer[self._body_at :])
        if self._length is not None:
            return raw
        pieces, at = [], 0
        try:
            while size := int(raw[at : (line_end := raw.index(b"\r\n", at))], 16):
                at = line_end + 2 + size
                if raw[at : at + 2] != b"\r\n":
                    raise BadAnswer("a chunk is longer or shorter than it says")
                pieces.append(raw[line_end + 2 : at])
                at += 2
        except ValueError as error:
            raise BadAnswer(f"broken chunks: {error}") from error
        return b"".join(pieces)


def _content_events(body: bytes | bytearray) -> int:
    """Events with text. A text that begins at the end of what has come counts once its next byte is there."""
    return body.count(_CONTENT) - body.count(_EMPTY_CONTENT) - body.endswith(_CONTENT)


def _shown(raw: bytes) -> str:
    return raw[:_SHOWN].decode(errors="replace").strip()
