"""The tabs of the page: one folder or file each, and one line in `TABS`."""

from collections.abc import Callable

from .compare import CompareTab
from .guidance import GuidanceTab
from .one_step import OneStepTab
from .search import SearchTab
from .steering import SteeringTab
from .studio import Studio
from .superpose import SuperposeTab
from .time_shift import TimeShiftTab

TABS: dict[str, Callable[[Studio], object]] = {
    "Search": SearchTab,
    "Compare": CompareTab,
    "Steering": SteeringTab,
    "Superpose": SuperposeTab,
    "Guidance": GuidanceTab,
    "Time shift": TimeShiftTab,
    "One step": OneStepTab,
}
"""What builds each tab, by its title; called inside of the tab, with what the tabs share."""
