"""Makes `tests/support` importable as `support`, and processes that tests start deaf to nothing."""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# A shell that runs the tests in the background ignores SIGINT for them, and so would whatever they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
