"""What an arm grasps with, under the names by which tasks know it, whatever its model calls them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import mujoco

from regrasp.errors import InputError, unknown

TIPS = ("left_tip", "right_tip")
"""Geoms that press on what is held, one on each side."""
SITE = "gripper"
"""Site between the tips: x points out of the hand, the fingers close along y."""
TIP_FRICTION = (1.0, 0.005, 0.0001)


@dataclass(frozen=True)
class Spot:
    """A place on a body of the arm's model."""

    body: str
    pos: tuple[float, float, float]
    """In the body's frame (m)."""
    quat: tuple[float, float, float, float] = (1.0, 0.0, 0.0, 0.0)
    """Orientation in the body's frame, w first."""
    size: tuple[float, float, float] | None = None
    """Half the edges of a box (m)."""


@dataclass(frozen=True)
class Hand:
    """Tips, site and other shapes of a hand."""

    opens_m: float = 0.058
    """Widest gap between the tips with something between them."""
    tips: tuple[str | Spot, str | Spot] = TIPS
    """The two tips: geoms of the model, or boxes that are added to it."""
    site: str | Spot = SITE
    """The grasp site: a site of the model, or one that is added to it."""
    fingers: tuple[str, ...] = TIPS
    """Geoms that hold things: the tips, and more if there are."""
    palm: tuple[str, ...] = ()
    """What else of a hand a thing may lie on."""

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "Hand":
        """The hand that a table describes.

        Raises:
            InputError: it names a figure that a hand has not, or a box without a size.
        """
        for name in table:
            if name not in cls.__dataclass_fields__:
                raise unknown("hand figure", name, cls.__dataclass_fields__)
        figures = dict(table)
        if "tips" in figures:
            first, second = figures["tips"]
            figures["tips"] = (_spot(first), _spot(second))
        if "site" in figures:
            figures["site"] = _spot(figures["site"])
        for name in ("fingers", "palm"):
            if name in figures:
                figures[name] = tuple(figures[name])
        # The tips are known by their standard names from here on, and hold things in any case.
        anew = dict(zip(figures.get("tips", TIPS), TIPS, strict=True))
        named = tuple(anew.get(name, name) for name in figures.get("fingers", TIPS))
        figures["fingers"] = (*(tip for tip in TIPS if tip not in named), *named)
        return cls(**figures)

    def put(self, spec: mujoco.MjSpec) -> None:
        """Give an arm's model the standard names; colliding shapes without a name get one too.

        Raises:
            InputError: the model lacks something that is named here.
        """
        for tip, name in zip(self.tips, TIPS, strict=True):
            if isinstance(tip, Spot):
                _add_tip(spec, tip, name)
            elif tip != name:
                _find(spec.geoms, "geom", tip).name = name
        if isinstance(self.site, Spot):
            body = _find(spec.bodies, "body", self.site.body)
            body.add_site(name=SITE, pos=self.site.pos, quat=self.site.quat, group=4)
        elif self.site != SITE:
            _find(spec.sites, "site", self.site).name = SITE
        for body in spec.bodies:
            for i, geom in enumerate(body.geoms):
                if not geom.name and (geom.contype or geom.conaffinity):
                    geom.name = f"{body.name}_{i}"
        for name in (*self.fingers, *self.palm):
            if name not in TIPS:
                _find(spec.geoms, "geom", name)


def _add_tip(spec: mujoco.MjSpec, tip: Spot, name: str) -> None:
    if tip.size is None:
        raise InputError(f"the tip on body {tip.body} is a box: give its size, half its edges in m")
    geom = _find(spec.bodies, "body", tip.body).add_geom(
        name=name, type=mujoco.mjtGeom.mjGEOM_BOX, pos=tip.pos, quat=tip.quat, size=tip.size
    )
    geom.mass, geom.condim, geom.priority, geom.friction = 0, 4, 1, TIP_FRICTION


def _find(elements: Any, kind: str, name: str) -> Any:
    found = {one.name: one for one in elements}
    if name not in found:
        raise unknown(f"{kind} of the arm's model", name, filter(None, found))
    return found[name]


def _spot(value: Any) -> str | Spot:
    if isinstance(value, str):
        return value
    for name in value:
        if name not in Spot.__dataclass_fields__:
            raise unknown("figure of a place", name, Spot.__dataclass_fields__)
    places: dict[str, Any] = {k: tuple(map(float, v)) for k, v in value.items() if k != "body"}
    return Spot(value["body"], **places)
