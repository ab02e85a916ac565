"""One bundle held against another on a data set of any format; see ``export.parity_check`` for what passes.

python -m training.evaluation.parity SMALLER --parent BUNDLE --data photos/ --count 300
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from export.checks import check_table
from export.parity_check import COUNT, check_parity
from segzero_ros.bundle import open_bundle
from segzero_ros.cli.parser import Parser, at_least, refuse
from segzero_ros.errors import RejectedInput
from training.data.open import open_examples


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask both bundles the same questions; 1 when the smaller one does not answer as its parent does."""
    parser = Parser("python -m training.evaluation.parity", __doc__ or "")
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--parent", type=Path, required=True, help="the 16-bit bundle it was made from")
    parser.add_argument("--data", default="tabletop", help="questions with their truth, as for `segzero eval`")
    parser.add_argument("--split", default="val", help="of the data (default val: the test set stays unseen)")
    parser.add_argument("--seed", type=at_least(0), default=3)
    parser.add_argument("--count", type=at_least(1), default=COUNT, help=f"questions (default {COUNT})")
    options = parser.parse_args(arguments)
    try:
        examples = open_examples(options.data, split=options.split, seed=options.seed, count=options.count)
        asked = (examples[n] for n in range(len(examples)))
        found = check_parity(open_bundle(options.bundle), open_bundle(options.parent), asked)
    except RejectedInput as error:
        return refuse(parser.prog, str(error))
    print(check_table(found))
    return 0 if all(check.passed for check in found) else 1


if __name__ == "__main__":
    sys.exit(main())
