"""Adapters of a `--lora` run -> a whole checkpoint, which the exporter and vLLM read.

python -m training.grpo.adapter runs/3b-lora/best --out runs/3b-lora/merged
"""

import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from segzero_ros.cli.parser import Parser


def merge(adapter: Path, out: Path) -> None:
    """Write the base model of `adapter` with the adapter's weights added, and the processor's files, to `out`."""
    from peft import PeftModel

    from segzero_ros.backends.torch_cuda.weights import load_whole
    from training.processor import model_class, processor_files

    base = json.loads((adapter / "adapter_config.json").read_text())["base_model_name_or_path"]
    model = load_whole(model_class(base), base, dtype="auto")
    PeftModel.from_pretrained(model, adapter).merge_and_unload().save_pretrained(out)
    for file in (adapter / "tokenizer.json", *processor_files(str(adapter))):
        shutil.copyfile(file, out / file.name)


def main(argv: Sequence[str] | None = None) -> None:
    """Command line."""
    parser = Parser("python -m training.grpo.adapter", __doc__ or "")
    parser.add_argument("adapter", type=Path, help="OUT/best or a checkpoint of a run with --lora")
    parser.add_argument("--out", type=Path, required=True, help="where the whole checkpoint goes")
    args = parser.parse_args(argv)
    merge(args.adapter, args.out)


if __name__ == "__main__":
    main()
