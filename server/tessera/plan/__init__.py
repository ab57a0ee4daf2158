"""Plans: what becomes of an item in front of a model, and how many tokens it is, known from its size or length alone.

Pure functions, with the parameters of one model. What they count is what the model's processor in vLLM makes of it.
"""

from tessera.plan.budget import least_tokens, low_tokens, spread
from tessera.plan.choices import Choice, best, image_choices, video_choices
from tessera.plan.family import AUDIO, IMAGE, VIDEO, Family
from tessera.plan.hybrid_frames import hybrid_frame_tokens
from tessera.plan.msac import TwoGrids, msac
from tessera.plan.parameters import Configuration, Parameters, UnknownFamily
from tessera.plan.plans import AudioPlan, Grid, ImagePlan, Plan, Size, Unplannable, VideoPlan
from tessera.plan.registry import FAMILIES, announced_family, read_family
from tessera.plan.smart_resize import smart_resize

__all__ = [
    "AUDIO",
    "FAMILIES",
    "IMAGE",
    "VIDEO",
    "AudioPlan",
    "Choice",
    "Configuration",
    "Family",
    "Grid",
    "ImagePlan",
    "Parameters",
    "Plan",
    "Size",
    "TwoGrids",
    "UnknownFamily",
    "Unplannable",
    "VideoPlan",
    "announced_family",
    "best",
    "hybrid_frame_tokens",
    "image_choices",
    "least_tokens",
    "low_tokens",
    "msac",
    "read_family",
    "smart_resize",
    "spread",
    "video_choices",
]
