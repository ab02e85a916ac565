"""Bundle -> smaller bundle as ``export.quantise`` makes it, checked on a data set of any format.

python -m training.quantise my-bundle --bits 8 --out my-bundle-int8 --data photos/
"""

import sys
from collections.abc import Sequence

from export.quantise import build_parser, run
from segzero_ros.cli.parser import refuse
from segzero_ros.errors import RejectedInput
from training.data.open import open_examples


def main(arguments: Sequence[str] | None = None) -> int:
    """Quantise a bundle from the command line; 1 when it does not pass, 2 for misuse."""
    parser = build_parser("python -m training.quantise")
    parser.add_argument("--data", default="tabletop", help="questions with their truth, as for `segzero eval`")
    options = parser.parse_args(arguments)
    try:
        examples = open_examples(options.data, split=options.split, seed=options.seed, count=options.count)
    except RejectedInput as error:
        return refuse(parser.prog, str(error))
    return run(parser, options, (examples[n] for n in range(len(examples))))


if __name__ == "__main__":
    sys.exit(main())
