"""Services alone: `godel dispatcher ...` is `python -m dispatcher ...`, arguments and all."""

from __future__ import annotations

import importlib

import click


def _service(name: str) -> click.Command:
    @click.command(
        name,
        add_help_option=False,
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    @click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
    def run(arguments: tuple[str, ...]) -> int:
        code = importlib.import_module(f"{name}.__main__").main(list(arguments))
        return code if isinstance(code, int) else 0

    return run


dispatcher = _service("dispatcher")
scheduler = _service("scheduler")
binder = _service("binder")
sharding = _service("sharding")
