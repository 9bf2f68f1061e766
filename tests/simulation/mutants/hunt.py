"""Inside a planted copy: run seeds until a rule did not hold on so many of them, and say where.

`python -m tests.simulation.mutants.hunt FINDINGS_MAX SEED ...`, in the copy. Prints a line
`SEED RULE` per finding; a tree that does not import, or a core that raises, ends with a traceback
and is no finding.
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
    findings_left, *seeds = (int(argument) for argument in sys.argv[1:])
    for seed in seeds:
        simulation = history_of(seed)
        try:
            simulation.run()
        except Broken as broken:
            print(f"{seed} {broken.rule}", flush=True)
            findings_left -= 1
        if not findings_left:
            break
    return 0


if __name__ == "__main__":
    sys.exit(main())
