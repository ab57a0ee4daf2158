"""Where a request goes that asks for an alias: to the target that its like had, as long as that can be."""

from __future__ import annotations

from tessera.gateway.body import Document
from tessera.gateway.catalogue import Target
from tessera.gateway.services import Services
from tessera.queue import Alias

# By what a client says which of its requests belong together, as OpenAI's API has it; the first of them counts.
KEYS = ("prompt_cache_key", "safety_identifier", "user")


def key_of(document: Document) -> str:
    """What the client calls those of its requests that belong together; empty: it does not say."""
    told = (document.value.get(name) for name in KEYS)
    return next((document.string(value) for value in told if isinstance(value, str) and value), "")


async def find_target(services: Services, name: str, key: str, tenant: str, previous: str) -> Target:
    """The model or adapter that a tenant's request by that name goes to.

    Args:
        key: those with the same go to the same target; empty: to any.
        previous: id of the response that it continues, whose target it goes to; empty: of none.

    Raises:
        QueueUnavailable, ModelNotFound, NoWorker: as ``Catalogue.target``.
    """
    before = ""
    if previous and services.catalogue.alias(name) is not None:
        before = await services.responses.model_of(tenant, previous)
    return services.catalogue.target(name, f"{tenant}\0{key}" if key else "", before)


async def target_of_line(services: Services, alias: Alias, job_id: str) -> Target:
    """That of a line of a batch: where a job of it is that an earlier runner of the batch has queued, it is that one's.

    Args:
        job_id: ends in the number of the try; each is to have the same target.

    Raises:
        QueueUnavailable, ModelNotFound, NoWorker: as ``Catalogue.target``.
    """
    catalogue = services.catalogue
    record = await services.records.find(catalogue.names(), [job_id])
    if record is not None:
        of_queue = (target for target in catalogue.targets_of(alias).values() if target.card.model == record.model)
        if (target := next(of_queue, None) or catalogue.found(record.model)) is not None:
            return target
    return catalogue.target(alias.name, job_id.rpartition("-")[0])
