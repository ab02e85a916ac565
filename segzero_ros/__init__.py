"""segzero_ros: a camera frame and a sentence in, instance masks and the reasoning behind them out."""

import pkgutil

# The built message classes live in an install tree of the same name; this lets a source tree find them too.
__path__ = pkgutil.extend_path(__path__, __name__)

__version__ = "0.1.0"
