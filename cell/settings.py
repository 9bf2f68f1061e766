"""What a number in a service's settings may be; a config Struct names one of these as its type.

Checked when a file is read (`runtime.config`), with the name of the field.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

Positive = Annotated[int, msgspec.Meta(ge=1)]
"""A limit, or a time without which something would spin."""
Natural = Annotated[int, msgspec.Meta(ge=0)]
"""A delay, which may be none."""
