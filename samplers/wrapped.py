"""What every scheduler around a child shares: a class made for each child's class, and one state.

A pipeline looks at its scheduler in every way there is: `isinstance`, signatures, config, attributes that it reads and
writes, private methods. So a scheduler of ours around a `DDIMScheduler` *is* one: an instance of
`type("TimeShiftScheduler", (TimeShiftScheduler, DDIMScheduler), {})` that took over the child's state. Only what a
method of ours changes is overridden; what is left runs as the child's own code.

That code must see the child's own `timesteps` where a pipeline sees ours (shifted, or a window of them). `child` is
therefore the same state under the child's own class: an object of that class with the *same* `__dict__`. All that is
called on the child is called through it. What we keep ourselves stands in that dictionary too, under names with two
underscores, which Python makes the class's own.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ClassVar

import diffusers
from diffusers import ConfigMixin, SchedulerMixin
from torch import Tensor

from . import compat
from .class_body import class_body
from .live_timesteps import index_of

OURS: dict[str, type[SchedulerMixin]] = {}
"""Public schedulers by name: those around a child as they are defined, and FlowSDEScheduler."""

_DRAWS = ("eta", "generator")
"""Arguments of a step that concern its noise alone."""


class Wrapped(SchedulerMixin, ConfigMixin):
    """Base of the schedulers around a child.

    A subclass names the setting that holds the class of its child, overrides what it changes, and calls the child by
    `ask_child`. Its `__init__` takes its own settings with their defaults; they are checked in `check`.
    """

    child_setting: ClassVar[str]
    """Setting that names the class of the child, the first or last of the constructor's."""

    child_names: ClassVar[Mapping[str, str]] = {}
    """Short names of classes of children."""

    child_kind: ClassVar[Any] = None
    """Class of the child, of diffusers or of ours; None in the public class, from which one is made for each."""

    outermost: ClassVar[bool] = False
    """Whether others of this package may be inside."""

    public: ClassVar[type[Wrapped]]
    """The class that has a name: the one that is imported, saved and loaded."""

    def __init_subclass__(cls, **kwargs: Any):
        super().__init_subclass__(**kwargs)
        if cls.child_kind is None and hasattr(cls, "child_setting"):
            cls.public = cls
            OURS[cls.__name__] = cls

    def __new__(cls, *args: Any, **kwargs: Any) -> Any:
        if cls.child_kind is None:
            settings = inspect.signature(cls.__init__).bind(None, *args, **kwargs)
            settings.apply_defaults()
            cls = made_for(cls, cls.child_class(settings.arguments[cls.child_setting]))
        return object.__new__(cls)

    def __getattr__(self, name: str) -> Any:
        """Called where looking up a name failed; diffusers' own would blame the property, not what it did not find."""
        if isinstance(found := inspect.getattr_static(type(self), name, None), property):
            return found.__get__(self)
        return super().__getattr__(name)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[type, ...], dict[str, Any]]:
        return _empty, _layers(type(self)), self.__dict__

    @classmethod
    def child_class(cls, name: str | None) -> type[SchedulerMixin]:
        """The class of a scheduler of diffusers or of ours.

        Raises:
            ValueError: for a name that is none's.
        """
        if cls.child_kind is not None and name == cls.child_kind.__name__:
            return cls.child_kind
        full = cls.child_names.get(name or "", name or "")
        found = OURS.get(full) or getattr(diffusers, full, None)
        if not (isinstance(found, type) and issubclass(found, SchedulerMixin)):
            setting, known = cls.child_setting.replace("_", " "), ", ".join([*cls.child_names, *OURS])
            raise ValueError(f"unknown {setting} {name!r}; known: {known}, or a diffusers scheduler class")
        return found

    @classmethod
    def settings(cls) -> list[str]:
        """Names of our own settings."""
        return [name for name in inspect.signature(cls.public.__init__).parameters if name != "self"]

    @classmethod
    def from_scheduler(cls, scheduler: SchedulerMixin, **settings: Any) -> Any:
        """
        Wrap a pipeline's scheduler: its settings and state are taken over, however it came to have them.

        Args:
            scheduler: any diffusers scheduler. One that is wrapped in this class already is wrapped anew, with the
                settings that it has where none are given.
            settings: of this class; with the class of another child, also settings of that.

        Raises:
            ValueError: for a setting that is unknown or wrong, a scheduler that this class cannot work with, or one
                whose methods were replaced on the instance.
        """
        public, kept = cls.public, {}
        if isinstance(scheduler, public) and public in _layers(type(scheduler)):
            if _layers(type(scheduler))[0] is not public:
                raise ValueError(
                    f"{public.__name__} inside of {type(scheduler).__name__} cannot be wrapped again; give its child"
                )
            kept = {name: scheduler.config[name] for name in public.settings()}
            scheduler = scheduler.child
        settings = {public.child_setting: None, **kept, **settings}
        name, own = settings.pop(public.child_setting), type(scheduler)
        kind = own if name in (None, own.__name__) else public.child_class(name)
        known = set(public.settings())
        others = {name: settings.pop(name) for name in set(settings) - known}
        _check_names(kind, others, known)
        _check_not_shadowed(scheduler)
        if kind is own and not others:
            return _around(public, kind, copy.deepcopy(vars(scheduler)), settings)
        config = {key: value for key, value in compat.whole_config(scheduler).items() if key not in known}
        child = kind.from_config({**config, "_class_name": own.__name__}, **others)
        return _around(public, type(child), vars(child), settings)

    @classmethod
    def from_config(cls, config: Mapping[str, Any], return_unused_kwargs: bool = False, **kwargs: Any) -> Any:
        """
        Make one from a scheduler's config.

        Args:
            config (`dict[str, Any]`): of a wrapped scheduler, or of one that names its class (one that was loaded).
            return_unused_kwargs (`bool`, defaults to False): also return what neither we nor the child take.
            kwargs: settings of ours and of the child, in place of the config's.

        Raises:
            ValueError: where neither the config nor an argument says which class the child is.
        """
        if not isinstance(config, Mapping):
            config, kwargs = cls.load_config(config, return_unused_kwargs=True, **kwargs)
        public, setting = cls.public, cls.public.child_setting
        given = {name: kwargs.pop(name) for name in public.settings() if name in kwargs}
        stored = public.child_name_in(config)
        name = given.pop(setting, None) or stored or (cls.child_kind.__name__ if cls.child_kind else None)
        if name is None:
            raise ValueError(
                f"the config does not name its scheduler class; use {public.__name__}.from_scheduler(pipe.scheduler) "
                f"or pass {setting}=, a diffusers scheduler class"
                + (f" or one of {', '.join(public.child_names)}" if public.child_names else "")
            )
        kind = cls.child_class(name)
        settings = {name: config[name] for name in public.settings() if name in config and name != setting} | given
        childs = {name: value for name, value in config.items() if name not in public.settings()}
        # The class that the child's settings come from tells diffusers which of them are another class's.
        childs["_class_name"] = stored or kind.__name__
        child, unused = kind.from_config(childs, return_unused_kwargs=True, **kwargs)
        made = _around(public, type(child), vars(child), settings)
        return (made, unused) if return_unused_kwargs else made

    @classmethod
    def child_name_in(cls, config: Mapping[str, Any]) -> str | None:
        """Class of the scheduler that we wrap or could, whose settings a config holds; None where it is not told."""
        wrappers = {**OURS, cls.public.__name__: cls.public}
        name = config.get("_class_name", cls.public.__name__)
        while issubclass(wrapper := wrappers.get(name, object), Wrapped):
            if cls.public.outermost and wrapper is not cls.public:
                break
            name = config.get(wrapper.child_setting)
        return name

    @classmethod
    def _get_compatibles(cls) -> list[type]:
        return [] if cls.child_kind is None else cls.child_kind._get_compatibles()

    def begin_new(self, **settings: Any) -> None:
        """Begin around a new child with the defaults of its class."""
        self.__dict__.update(vars(self.child_kind()))
        self.begin(**settings)

    def begin(self, **settings: Any) -> None:
        """Take up the work around a state that is a child's: set our settings and whatever we keep."""
        bound = inspect.signature(type(self).public.__init__).bind(None, **settings)
        bound.apply_defaults()
        ours = {name: value for name, value in bound.arguments.items() if name != "self"}
        ours[self.child_setting] = self.child_kind.__name__
        self.register_to_config(**ours, _class_name=type(self).__name__)
        self.check()

    def register_to_config(self, **settings: Any) -> None:
        """Change settings, ours and the child's.

        Raises:
            ValueError: for another class of the child, which an object cannot come to have.
        """
        kind: Any = type(self)
        while issubclass(kind, Wrapped):
            given, is_one = settings.get(kind.child_setting), kind.child_kind.__name__
            if given is not None and kind.child_names.get(given, given) != is_one:
                raise ValueError(
                    f"the child is a {is_one}; to have another, use {kind.__name__}.from_scheduler(scheduler, "
                    f"{kind.child_setting}={given!r})"
                )
            kind = kind.child_kind
        super().register_to_config(**settings)

    def check(self) -> None:
        """Check our settings, and whether they fit the child.

        Raises:
            ValueError: with the reason.
        """
        raise NotImplementedError

    @property
    def child(self) -> Any:
        """The scheduler that does the update: our own state, seen as an object of the child's class."""
        if self.child_kind is None:  # never of an instance: those have a made class
            raise ValueError(f"{type(self).__name__} has no child")
        child = object.__new__(self.child_kind)
        child.__dict__ = self.__dict__
        return child

    def ask_child(self, name: str, *args: Any, **kwargs: Any) -> Any:
        """Call a method of the child's class, and not what a user put on the instance in its place, which calls us."""
        return getattr(self.child_kind, name)(self.child, *args, **kwargs)

    def arguments(self, name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        """The arguments of a call of the child's method, by name.

        Raises:
            ValueError: for an argument that the child does not take.
        """
        signature = inspect.signature(getattr(self.child_kind, name))
        if name == "step":  # some pipelines pass these to every solver; one that draws nothing has no use for them
            kwargs = {key: value for key, value in kwargs.items() if key in signature.parameters or key not in _DRAWS}
        try:
            return signature.bind(self.child, *args, **kwargs)
        except TypeError as error:
            takes = list(signature.parameters)[1:]
            unknown = [key for key in kwargs if key not in takes]
            reason = f"takes no {', '.join(unknown)}" if unknown else f"{error}"
            raise ValueError(f"{self.child_kind.__name__}.{name} {reason}; it takes {', '.join(takes)}") from None

    def scale_model_input(self, sample: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Scale the model's input as the child does; as it is where the child scales nothing."""
        if not hasattr(self.child_kind, "scale_model_input"):  # pipelines that ask for an exact class call it anyway
            return sample
        return self.ask_child("scale_model_input", sample, *args, **kwargs)

    def run_index(self, timestep: float | Tensor) -> int:
        """Index of the model call under way in the whole run's times, without a host sync where a view is passed.

        Args:
            timestep: the time that the pipeline passes.

        Raises:
            ValueError: for a time that is no entry.
        """
        child = self.child
        return child.run_index(timestep) if isinstance(child, Wrapped) else index_of(child.timesteps, timestep)


class LiveTimes(Wrapped):
    """Base of those that show a pipeline other times than the child's, one for each model call, and write them live."""

    def begin(self, **settings: Any) -> None:
        """Take up the work around a child's state, whose times are shown."""
        self.show(None)
        super().begin(**settings)

    def show(self, times: Tensor | None) -> None:
        """Show these times, (model calls,), none of which is made yet; None for the child's."""
        self.__live: Tensor | None = times
        self.__calls: int | None = None

    @property
    def live(self) -> Tensor | None:
        """The times that are shown; None while they are the child's."""
        return self.__live

    @property
    def calls(self) -> int | None:
        """Model calls done; None before the first, and while the child's times are shown."""
        return self.__calls

    @calls.setter
    def calls(self, done: int) -> None:
        self.__calls = done

    @property
    def timesteps(self) -> Tensor:
        """Times of the model calls; a pipeline that iterates them sees those that are written meanwhile."""
        return self.child.timesteps if self.live is None else self.live

    @timesteps.setter
    def timesteps(self, times: Tensor) -> None:
        self.child.timesteps = times
        if self.live is not None:
            self.take_times()

    def take_times(self) -> None:
        """Told that the child's times were set from outside while others are shown."""

    @property
    def step_index(self) -> int | None:
        """Model calls done; None before the first."""
        return getattr(self.child, "step_index", None) if self.live is None else self.calls


_MADE: dict[tuple[type, type], type[Wrapped]] = {}
"""Classes made so far, by the class of ours and the child's."""


def made_for(public: type[Wrapped], kind: type[SchedulerMixin]) -> type[Wrapped]:
    """The class of `public` around children of a class: both are its bases, so it is seen as either."""
    pair = (public.public, kind)
    if pair not in _MADE:
        body = {"child_kind": kind, **class_body(*pair, Wrapped)}
        _MADE.setdefault(pair, type(public.__name__, pair, body))
    return _MADE[pair]


def _layers(made: type) -> tuple[type, ...]:
    """Public classes of a scheduler, from the outermost, and the class of the innermost child."""
    layers = []
    while issubclass(made, Wrapped) and made.child_kind is not None:
        layers.append(made.public)
        made = made.child_kind
    return (*layers, made)


def _empty(*layers: type) -> Any:
    """An object without its state, for pickle and copy."""
    *ours, kind = layers
    for public in reversed(ours):
        kind = made_for(public, kind)
    return object.__new__(kind)


def _around(public: type[Wrapped], kind: type, state: dict[str, Any], settings: dict[str, Any]) -> Any:
    made = object.__new__(made_for(public, kind))
    made.__dict__.update(state)
    made.begin(**settings)
    return made


def _check_names(kind: type[Any], given: Mapping[str, Any], ours: Iterable[str]) -> None:
    takes = inspect.signature(kind.__init__).parameters
    if unknown := [name for name in given if name not in takes]:
        raise ValueError(
            f"unknown {', '.join(unknown)}; settings are {', '.join(sorted(ours))}, or {kind.__name__}'s own"
        )


def _check_not_shadowed(scheduler: Any) -> None:
    """A method that was replaced on the instance holds that instance: on a copy it would step another scheduler."""
    kind = type(scheduler)
    if replaced := [name for name, value in vars(scheduler).items() if callable(value) and hasattr(kind, name)]:
        raise ValueError(
            f"{', '.join(replaced)} of the {kind.__name__} was replaced on the instance, and would be lost; wrap the "
            "scheduler first"
        )


def innermost(scheduler: Any) -> Any:
    """The scheduler that does the update: the child of one that wraps another, at any depth."""
    while isinstance(scheduler, Wrapped):
        scheduler = scheduler.child
    return scheduler
