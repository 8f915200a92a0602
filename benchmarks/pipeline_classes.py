"""Every pipeline class of the installed diffusers, with its toy or the reason why it has none."""

import inspect

import diffusers
from diffusers import DiffusionPipeline, ModularPipeline
from toys import TOYS

OTHER_THINGS = {
    "sound": (
        "AceStep",
        "AudioLDM",
        "AudioLDM2",
        "DanceDiffusion",
        "LongCatAudioDiT",
        "MusicLDM",
        "StableAudio",
        "StableAudio3",
        "StableAudio3AudioToAudio",
        "StableAudio3Inpaint",
    ),
    "text": ("DiffusionGemma", "LLaDA2"),
    "shapes": ("ShapE", "ShapEImg2Img"),
    "proteins": ("RFD4Proteina",),
    "embeddings of pictures for another pipeline": (
        "FluxPriorRedux",
        "KandinskyPrior",
        "KandinskyV22Prior",
        "KandinskyV22PriorEmb2Emb",
        "StableCascadePrior",
        "WuerstchenPrior",
    ),
    "a map of a picture that it is given": ("MarigoldDepth", "MarigoldIntrinsics", "MarigoldNormals"),
    "what another pipeline began larger": (
        "HunyuanImageRefiner",
        "Kandinsky6SR",
        "LDMSuperResolution",
        "LTX2DFRTemporalRefine",
        "LTX2LatentUpsample",
        "LTX2VideoDiffusionDecode",
        "LTXLatentUpsample",
    ),
}
"""Names of classes, but for "Pipeline", by what they make."""

REASONS = {
    "Allegro": "its autoencoder decodes tiles of fixed size alone, one clip at a time",
    "AltDiffusion": "Stable Diffusion with another text encoder, whose classes are of an older transformers",
    "BriaFibo": "asks for token 128000 of its text encoder's own vocabulary, which makes no small toy",
    "Cosmos2_5_PredictBase": "refuses to be built without the cosmos_guardrail package",
    "Cosmos2_5_Transfer": "refuses to be built without the cosmos_guardrail package",
    "CosmosTextToWorld": "refuses to be built without the cosmos_guardrail package",
    "StableDiffusionModelEditing": "Stable Diffusion, whose weights are edited before the call",
    "StableDiffusionParadigms": "steps many times of one run at once, so that no step follows another",
    "StableDiffusionPix2PixZero": "needs a captioner and an inverted run of its own",
    "VersatileDiffusion": "calls three other classes in turn",
}
"""Why a class that makes pictures or clips of texts has no toy yet, where it is not only a matter of writing one."""

GIVEN = {
    "image",
    "video",
    "mask_image",
    "control_image",
    "reference_image",
    "image_embeds",
    "image_embeddings",
    "images",
}


def pipeline_classes() -> dict[str, dict[str, str]]:
    """By name: `{"toys": rows}` or `{"reason": why none}`, and what the class starts from."""
    found = {}
    for name in sorted(name for name in dir(diffusers) if name.endswith("Pipeline")):
        rows = [row for row in TOYS if row.split(",")[0] == name]
        found[name] = {"kind": kind(name)} | ({"toys": "; ".join(rows)} if rows else {"reason": _reason(name)})
    return found


def kind(name: str) -> str:
    """What a class starts from, read from its call."""
    cls = getattr(diffusers, name)
    if not _is_plain(cls):
        return "other"
    takes = inspect.signature(cls.__call__).parameters
    if not {"prompt", "class_labels"} & set(takes):
        return "other"
    needed = {key for key in GIVEN & set(takes) if takes[key].default is inspect.Parameter.empty}
    if needed or "strength" in takes:
        return "picture"
    if any(name.removesuffix("Pipeline") in names for names in OTHER_THINGS.values()):
        return "other"
    return "class" if "prompt" not in takes else "text"


def _is_plain(cls: object) -> bool:
    return isinstance(cls, type) and issubclass(cls, DiffusionPipeline) and cls is not DiffusionPipeline


def _reason(name: str) -> str:
    cls, short = getattr(diffusers, name), name.removesuffix("Pipeline")
    if cls in (DiffusionPipeline, ModularPipeline):
        return "the base class"
    if isinstance(cls, type) and issubclass(cls, ModularPipeline):
        return "modular: made of blocks that a user puts together, with no call of a fixed form"
    if backends := getattr(cls, "_backends", None):
        return f"needs {', '.join(sorted(backends))}, not all of which is installed"
    if made := next((made for made, names in OTHER_THINGS.items() if short in names), None):
        return f"makes {made}"
    if short in REASONS:
        return REASONS[short]
    if kind(name) == "picture":
        return "starts from a picture or clip, as the toys of StableDiffusionImg2ImgPipeline and others do"
    takes = inspect.signature(cls.__call__).parameters
    if not {"prompt", "class_labels"} & set(takes):
        return "takes neither a text nor a class label"
    kin = [row for row in TOYS if _family(row.split(",")[0]) == _family(name) and "," not in row]
    return "no recipe written yet" + (f"; its kin are {', '.join(kin[:2])}" if kin else "")


def _family(name: str) -> str:
    """The folder of diffusers that a class lies in."""
    return getattr(diffusers, name).__module__.rpartition(".")[0]
