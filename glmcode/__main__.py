"""`python -m glmcode`: the same as the `glmcode` script. Holds nothing else."""

import sys

from glmcode.cli import main

sys.exit(main())
