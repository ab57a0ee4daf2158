"""What the demonstration sends; kept with the embedded model, which is trained to understand it."""

from models.samples import audio, image, video

__all__ = ["audio", "image", "video"]
