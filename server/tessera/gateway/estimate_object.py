"""What ``POST /v1/estimate`` answers."""

from __future__ import annotations

from pydantic import BaseModel, Field

from tessera.gateway.price import Price


class Pixels(BaseModel):
    """A size in pixels."""

    width: int
    height: int


class Tiles(BaseModel):
    """How an image is cut."""

    columns: int
    rows: int
    thumbnail: bool = Field(description="The whole image goes along as a tile of its own.")


class PartEstimate(BaseModel):
    """One part of the request's messages with media."""

    path: str = Field(description="Where it stands, as `messages[0].content[2]`.")
    modality: str
    digest: str = Field(description="Of its decoded content: equal pixels and samples have the same.")
    size: Pixels | None = Field(description="Of an image or of a video's frames, as the engine would get them.")
    duration_s: float | None = Field(description="Of a video or a sound.")
    planned_size: Pixels | None = Field(description="As the model's processor would resize it, all tiles together.")
    tiles: Tiles | None = None
    times_s: list[float] | None = Field(None, description="When each frame that is sent of a video is shown.")
    frames: int | None = Field(None, description="Frames that the model's encoder gets.")
    tokens: int | None = Field(
        description="In the prompt in its place, a video's sound included; null: only the model's processor knows."
    )
    exact: bool = Field(description="They are as many as the engine will count.")
    least_tokens: int | None = Field(
        None, description="As few as `max_visual_tokens` could make it; null: that cannot be told."
    )
    reason: str | None = Field(None, description="Why they are not known.")
    preview: str | None = Field(
        None,
        description="With `preview=true`: an image with its tiles, or frames of a video, drawn: the data URL of a PNG.",
    )


class TextEstimate(BaseModel):
    """Everything but the media."""

    tokens: int
    exact: bool = Field(description="False: guessed from its length.")
    at_most: int = Field(description="It is no more than this, where it is guessed.")
    reason: str | None = Field(None, description="Why it was not counted with the model's tokenizer.")


class Estimate(BaseModel):
    """What a request would be to its model."""

    object: str = "estimate"
    model: str
    planned_as: str | None = Field(
        description="The family by whose rules media is counted, as `GET /v1/models` has it."
    )
    exact: bool = Field(description="`prompt_tokens` is what `usage` would say.")
    prompt_tokens: int = Field(description="Text and media together, of what is known.")
    media_tokens: dict[str, int] = Field(description="By modality; the sound of a video counts to it.")
    text: TextEstimate
    parts: list[PartEstimate]
    max_model_len: int
    max_tokens: int = Field(description="Room for the answer that the request asks for; 1 where it does not say.")
    fits: bool | None = Field(description="Prompt and answer fit the model's context; null: that cannot be told.")
    fitting_budget: int | None = Field(
        None, description="Where they do not fit: the `visual_token_budget` with which they would; null: there is none."
    )
    price: Price | None = Field(None, description="By the operator's price list; null: there is none for this model.")
