"""Inside a planted copy: run seeds until a rule does not hold, and say which.

`python -m tests.simulation.mutants.hunt FIRST END`, in the copy. Prints `found SEED RULE` or
`survived`; a tree that does not import, or a core that raises, ends with a traceback and is no
finding.
"""

from __future__ import annotations

import sys
from pathlib import Path

from runtime.kernel_cache import export_kernel_cache

export_kernel_cache()


def main() -> int:
    """See the module."""
    import binder
    from tests.simulation.histories import history_of
    from tests.simulation.world import Broken

    assert Path(binder.__file__ or "").is_relative_to(Path.cwd()), "the planted tree is not used"
    first, end = int(sys.argv[1]), int(sys.argv[2])
    for seed in range(first, end):
        simulation = history_of(seed)
        try:
            simulation.run()
        except Broken as broken:
            print(f"found {seed} {broken.rule}")
            return 0
    print("survived")
    return 0


if __name__ == "__main__":
    sys.exit(main())
