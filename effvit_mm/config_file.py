"""Reading a config file, with words for what goes wrong."""

from importlib.util import find_spec
from pathlib import Path

from mmengine.config import Config

from effvit_mm.errors import BadInputError
from effvit_mm.registry import near_names

# As Python names it in what it says of a source that begins with one.
BYTE_ORDER_MARK = "U+FEFF"


def read_config(file: Path) -> Config:
    """Read a config with its bases.

    Raises:
        BadInputError: If the file is missing, cannot be read, or has no model.
    """
    if not file.is_file():
        state = "is no file" if file.exists() else "does not exist"
        beside = [path.name for path in file.parent.glob("*.py")]
        hint = near_names(file.name, beside) if beside else "the configs lie under configs/<data set>/"
        raise BadInputError(f"config {file} {state}; {hint}")
    try:
        cfg = Config.fromfile(file)
    except Exception as error:  # a config is any Python code, so it can fail in any way
        if "mmpretrain" in str(error) and find_spec("mmpretrain") is None:
            raise BadInputError(
                f"config {file} needs mmpretrain, which is not installed: in the clone, pip install -e '.[pretrain]'"
            ) from error
        if isinstance(error, SyntaxError) and BYTE_ORDER_MARK in str(error):
            raise BadInputError(
                f"config {file}, or a base of it, begins with a byte order mark, which is no Python; save it again as "
                f"UTF-8 without signature (without BOM)"
            ) from error
        imports = "custom_imports, dict(imports=['package.module'])" if "import_modules_from" in str(error) else "it"
        raise BadInputError(
            f"config {file} cannot be read: {type(error).__name__}: {error}; correct {imports}, or name a "
            f"config of configs/<data set>/"
        ) from error
    return cfg


def require_model(cfg: Config) -> None:
    """Refuse a config without a model.

    Raises:
        BadInputError: If there is none.
    """
    if "model" not in cfg:
        raise BadInputError(f"config {cfg.filename} has no 'model'; name a leaf such as configs/coco/maskrcnn_*.py")
