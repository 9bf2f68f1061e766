"""Profiles: which plugins, with which weights, decide for a class. Called by the core at its start.

In-tree plugins stand in a literal dict. Those outside come as a registry that the shell fills by
entry point, with what a configured profile names and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from cell.classes import ClassSpec
from scheduler.config import PluginConfig, Plugins
from scheduler.framework.plugin import (
    SCORE_MAX,
    BadArgs,
    FilterPlugin,
    Plugin,
    ScorePlugin,
    StaticScorePlugin,
    WishPlugin,
)
from scheduler.kernels.keys import SCORE_MAX as TOTAL_MAX
from scheduler.plugins.balanced.plugin import Balanced
from scheduler.plugins.least.plugin import Least
from scheduler.plugins.most.plugin import Most
from scheduler.plugins.node_affinity.plugin import NodeAffinity
from scheduler.plugins.pod_affinity.plugin import PodAffinity
from scheduler.plugins.ratio.plugin import Ratio
from scheduler.plugins.taints.plugin import Taints
from scheduler.plugins.topology_spread.plugin import TopologySpread

PLUGINS: dict[str, type[Plugin]] = {
    "least": Least,
    "most": Most,
    "balanced": Balanced,
    "taints": Taints,
    "node_affinity": NodeAffinity,
    "pod_affinity": PodAffinity,
    "topology_spread": TopologySpread,
    "ratio": Ratio,
}
WISHES: Plugins = {"taints": 3, "node_affinity": 2, "pod_affinity": 2, "topology_spread": 2}
"""What pods and nodes say they prefer; kube-scheduler's weights."""
PROFILES: dict[str, Plugins] = {
    "default": {"least": 1, "balanced": 1, **WISHES},
    "pack": {"most": 1, **WISHES},
    "spread": {"least": 1, **WISHES},
}
FUSED_COUNT = 3
"""Weights of the placing kernel."""
WISHED_COUNT = 2
"""Weights of its part about other replicas."""
WISH_WEIGHT_MAX = 1 << 20


class BadProfile(ValueError):
    """A configured profile that cannot run; the text names it and the reason."""


class Profile(msgspec.Struct, frozen=True):
    """A profile ready to run."""

    name: str
    filters: tuple[FilterPlugin, ...]
    scores: tuple[tuple[ScorePlugin, int], ...]
    statics: tuple[tuple[StaticScorePlugin, int], ...] = ()
    wishes: tuple[tuple[WishPlugin, int], ...] = ()

    @property
    def is_fused(self) -> bool:
        """Whether the placing kernel alone decides."""
        return not self.filters and all(plugin.fused is not None for plugin, _ in self.scores)

    def wish_weights(self) -> list[int]:
        """Weight per plugin of wishes about other replicas."""
        weights = [0] * WISHED_COUNT
        for plugin, weight in self.wishes:
            weights[plugin.wished] = weight
        return weights

    def weights(self, spec: ClassSpec) -> list[int]:
        """Weight per fused plugin, for a class."""
        weights = [0] * FUSED_COUNT
        for plugin, weight in self.scores:
            if plugin.fused is not None and plugin.is_about(spec):
                weights[plugin.fused] = weight
        return weights


def plugins_wanted(configured: Mapping[str, Plugins]) -> list[str]:
    """Names of plugins that must come from outside the tree, sorted."""
    named = {name for profile in configured.values() for name in profile}
    return sorted(named - PLUGINS.keys())


def load_profiles(
    configured: Mapping[str, Plugins], registry: Mapping[str, type[Plugin]]
) -> dict[str, Profile]:
    """Built-in and configured profiles; `registry` has the plugins outside the tree.

    Raises BadProfile.
    """
    known = PLUGINS | dict(registry)
    return {
        name: _profile(name, plugins, known)
        for name, plugins in (PROFILES | dict(configured)).items()
    }


def _profile(name: str, plugins: Plugins, known: Mapping[str, type[Plugin]]) -> Profile:
    filters: list[FilterPlugin] = []
    scores: list[tuple[ScorePlugin, int]] = []
    statics: list[tuple[StaticScorePlugin, int]] = []
    wishes: list[tuple[WishPlugin, int]] = []
    for plugin_name, said in plugins.items():
        config = PluginConfig(said) if isinstance(said, int) else said
        plugin, weight = _plugin(name, plugin_name, config, known), config.weight
        if isinstance(plugin, FilterPlugin):
            filters.append(plugin)
        elif isinstance(plugin, ScorePlugin) and weight > 0:
            scores.append((plugin, weight))
        elif isinstance(plugin, StaticScorePlugin) and weight > 0:
            statics.append((plugin, weight))
        elif isinstance(plugin, WishPlugin) and 0 < weight <= WISH_WEIGHT_MAX:
            wishes.append((plugin, weight))
        else:
            raise BadProfile(f"profile {name}: plugin {plugin_name} needs a weight above 0")
    if sum(weight for _, weight in (*scores, *statics)) * SCORE_MAX > TOTAL_MAX:
        raise BadProfile(f"profile {name}: weights sum to more than {TOTAL_MAX // SCORE_MAX}")
    return Profile(name, tuple(filters), tuple(scores), tuple(statics), tuple(wishes))


def _plugin(
    profile: str, name: str, config: PluginConfig, known: Mapping[str, type[Plugin]]
) -> Plugin:
    """The plugin with its arguments; raises BadProfile that names profile, plugin and field."""
    if name not in known:
        raise BadProfile(f"profile {profile}: no plugin {name}")
    made = known[name]
    try:
        if made.args_type is not None:
            return made(msgspec.convert(config.args, made.args_type))  # type: ignore[call-arg]
        if config.args:
            raise BadArgs(min(config.args), "the plugin takes no arguments")
        return made()
    except msgspec.ValidationError as error:
        text = str(error).replace("`$", "`args")
        raise BadProfile(f"profile {profile}: plugin {name}: {text}") from None
    except BadArgs as error:
        raise BadProfile(f"profile {profile}: plugin {name}: args.{error}") from None
