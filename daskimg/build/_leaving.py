"""What a run leaves with a scheduler of others goes when its client goes, however that ends.

A client that is killed takes nothing back, and the scheduler would give its storage options, keys
and tokens among them, to each worker that ever joins.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from distributed import SchedulerPlugin

if TYPE_CHECKING:
    from collections.abc import Iterator

    from daskimg.build._crew import Crew


@contextmanager
def cleared(crew: Crew) -> Iterator[None]:
    """Have the scheduler take a run's plugins from all workers if the client is lost meanwhile.

    One that takes no plugins, as ``distributed.scheduler.pickle`` says, keeps what a killed
    client has left.
    """
    client: Any = crew.client
    name = crew.fresh()
    plugin = _clearing(client.id, crew.name, name)
    with suppress(Exception):
        client.register_plugin(plugin, name=name)
    try:
        yield
    finally:
        with suppress(Exception):  # the scheduler may be gone
            crew.ask("unregister_scheduler_plugin", name=name)


def _clearing(its_client: str, run: str, name: str) -> SchedulerPlugin:
    """Return the plugin: of a class in here, which is pickled with its code.

    So the scheduler needs no daskimg; nothing of this module may be used in it.
    """

    class Clearing(SchedulerPlugin):
        def remove_client(self, scheduler: Any, client: str) -> None:
            if client != its_client:
                return
            for each in list(scheduler.worker_plugins):
                if each.partition(".")[0] == run:
                    scheduler.loop.add_callback(scheduler.unregister_worker_plugin, None, each)
            scheduler.remove_plugin(name)

    return Clearing()
