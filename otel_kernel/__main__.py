"""`python -m otel_kernel` is `otel-kernel`."""

import sys

from otel_kernel.cli import main

sys.exit(main())
