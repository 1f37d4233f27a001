"""Whether a cycle begins: a wish by hand, a version that is news, or a signal."""

from noria.api.cycle import Cycle, Trigger
from noria.api.modelversion import ModelVersion
from noria.plan.wheel import retraining
from noria.plan.wheel.course import enter
from noria.plan.wheel.view import BY, RETRY, ROLLBACK_TO, Refusal, Turn, View, has_served, turned_down


def begin(view: View, turn: Turn) -> Turn:
    """No cycle is in flight: whether one begins, and why."""
    back = view.action(ROLLBACK_TO)
    if back:  # nothing else begins before the wish is taken away, or it would end what just began
        trigger = Trigger(reason="Rollback", by=view.action(BY))
        return turn if refused_rollback(view, turn) else _open(view, turn, trigger, view.version(back))
    again = view.version(view.action(RETRY))
    if again and not turned_down(view.endpoint.status.rejected, view.service_name(again), again):
        return turn  # the wish was taken in and goes first, or it would be taken in again when that try is over
    wanted = view.wanted
    if isinstance(wanted, ModelVersion) and is_news(view, turn, wanted):
        return _open(view, turn, _asked(view, turn, wanted), wanted)
    if view.wish:  # a training would be ended by a wish that its step has not yet seen granted
        return turn
    set_off = retraining.trigger(view, turn)
    return _open(view, turn, set_off, None) if set_off else turn


def _asked(view: View, turn: Turn, wanted: ModelVersion) -> Trigger:
    """Who asks for the wanted version."""
    if view.wish:
        return Trigger(reason="Pipeline", run=view.wish.run, step=view.wish.step)
    # A version that has earned the traffic before and is asked for by its number is gone back to without more ado.
    back_by_spec = view.endpoint.spec.model.version is not None and has_served(turn, wanted)
    return Trigger(reason="Rollback" if back_by_spec else "NewVersion")


def refused_rollback(view: View, turn: Turn) -> Refusal | None:
    """Why the rollback that is asked for by hand cannot be."""
    name = view.action(ROLLBACK_TO)
    if turn.current and turn.current.version == name:
        return Refusal("AlreadyServed", f"{name} serves already")
    version = view.version(name)
    if version is None:
        return Refusal("ModelVersionNotFound", f"ModelVersion {name} does not exist")
    if not has_served(turn, version):
        text = f"{name} has not served here since it was registered; versions in status.history have"
        return Refusal("NeverServed", text)
    pinned, number = view.endpoint.spec.model.version, int(str(name).rpartition("-")[2])
    if pinned not in (None, number):
        return Refusal("VersionPinned", f"spec.model.version asks for {pinned}; set it to {number} instead")
    return None


def is_news(view: View, turn: Turn, wanted: ModelVersion) -> bool:
    """Whether the wanted version is another than the served one and has not been rejected."""
    name = view.service_name(wanted)
    return not turned_down(turn.rejected, name, wanted) and not (
        turn.current and turn.current.inference_service == name
    )


def _open(view: View, turn: Turn, trigger: Trigger, challenger: ModelVersion | None) -> Turn:
    cycle = Cycle(
        number=turn.cycles + 1,
        trigger=trigger,
        champion=turn.current.version if turn.current else None,
        challenger=challenger.metadata.name if challenger else None,
        start_time=view.now,
    )
    return enter(view, turn._replace(cycle=cycle, cycles=cycle.number), cycle)
