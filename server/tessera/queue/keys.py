"""The name of every key and channel in Redis.

All keys of one model share the hash tag ``{model}``, so that one script can touch them on a Redis Cluster.

====================================  ==========  ====================================================
``P:{M}:job:ID``                      hash        state, epoch, attempts, order, deadline, body, …
``P:{M}:log:ID``                      list        the reply's entries, in order
``P:{M}:steps:ID``                    list        what the engine gave for them, while the job runs
``P:{M}:queue``                       sorted set  ids of waiting jobs, by order
``P:{M}:leases``                      sorted set  ids of running jobs, by expiry (ms)
``P:{M}:bodies``                      hash        bytes of the bodies of waiting and running jobs, and ``=``: in all
``P:{M}:replies``                     hash        bytes of each job's log and steps, and ``=``: in all
``P:{M}:ended``                       sorted set  ids of ended jobs with a log, by its expiry (ms)
``P:{M}:first``                       string      the job that goes on where replies take all the room
``P:{M}:wake``                        list        tokens that wake workers with room
``P:{M}:wake-batch``                  list        those of jobs of batches
``P:{M}:dead``                        sorted set  ids of jobs that were set aside, by when (ms)
``P:{M}:dead:ID``                     hash        what is kept of one: reason, deaths, body, …
``P:{M}:counts``                      hash        what all gateways count together
``P:{M}:reserved``                    hash        the job that does not fit, and the worker that is kept free for it
``P:{M}:alone``                       string      the suspect that was last given to a worker of its own
``P:{M}:order``                       integer     the last order given out
``P:{M}:gateways``                    sorted set  ids of gateways with jobs of the model, by expiry (ms)
``P:{M}:gateway:ID``                  set         ids of the jobs that end with a gateway
``P:{M}:once:KEY``                    string      what was sent with an idempotency key, and the job's id
``P:{M}:keys:TENANT``                 sorted set  those keys of a tenant, by when their jobs began (ms)
``P:{M}:watch``                       integer     when silent ones were last looked for, or are to be next (ms)
``P:{M}:damaged:NAME``                any         what stood at another key and is not of its type
``P:{M}:damaged``                     set         names of those, until somebody has logged them
``P:{M}:claim:WORKER``                string      what a worker was given last, in case the answer was lost
``P:{directory}:workers``             sorted set  ids of workers, by expiry (ms)
``P:{directory}:cards``               hash        worker id to the card it announced
``P:{directory}:models``              hash        model to when a worker last served it (ms), and its card
``P:{directory}:prompts:DIGEST``      string      a model's tokenizer and chat templates
``P:{directory}:counts``              hash        as of a model, and `damaged` as well
``P:{directory}:adapters``            hash        name to a LoRA adapter that is to be loaded
``P:{directory}:aliases``             hash        name to the models and adapters that it stands for, and their weights
``P:{directory}:log-levels``          hash        part to the level that it is to log at, where an operator has set one
``P:gateway:ID``                      channel     reply entries for one gateway
``P:worker:ID``                       channel     ids of jobs that one worker is to abort
====================================  ==========  ====================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Keys:
    """Names under one prefix."""

    # In a hash of bytes, the name of their sum; a job's id is longer.
    SUM: ClassVar[str] = "="
    # What stands in the place of a model in the keys of the directory.
    DIRECTORY: ClassVar[str] = "directory"

    prefix: str

    def model(self, model: str) -> str:
        """Prefix of a model's keys, as the scripts take it."""
        return f"{self.prefix}:{{{model}}}:"

    def log(self, model: str, job_id: str) -> str:
        """Reply log of a job."""
        return f"{self.model(model)}log:{job_id}"

    def steps(self, model: str, job_id: str) -> str:
        """What the engine gave for a job's reply."""
        return f"{self.model(model)}steps:{job_id}"

    def job(self, model: str, job_id: str) -> str:
        """Record of a job."""
        return f"{self.model(model)}job:{job_id}"

    def queue(self, model: str) -> str:
        """Waiting jobs of a model."""
        return f"{self.model(model)}queue"

    def leases(self, model: str) -> str:
        """Running jobs of a model."""
        return f"{self.model(model)}leases"

    def bodies(self, model: str) -> str:
        """What the bodies of waiting and running jobs take."""
        return f"{self.model(model)}bodies"

    def replies(self, model: str) -> str:
        """What the reply logs of a model, and the steps that led to them, take."""
        return f"{self.model(model)}replies"

    def ended(self, model: str) -> str:
        """Jobs of a model that have ended, and whose logs are there."""
        return f"{self.model(model)}ended"

    def gateways(self, model: str) -> str:
        """Gateways that have jobs of a model."""
        return f"{self.model(model)}gateways"

    def jobs_of(self, model: str, gateway_id: str) -> str:
        """Jobs of a model that end with a gateway."""
        return f"{self.model(model)}gateway:{gateway_id}"

    def watch(self, model: str) -> str:
        """When those that went silent were last looked for."""
        return f"{self.model(model)}watch"

    def dead(self, model: str) -> str:
        """Jobs that were set aside."""
        return f"{self.model(model)}dead"

    def dead_letter(self, model: str, job_id: str) -> str:
        """What is kept of one."""
        return f"{self.dead(model)}:{job_id}"

    def counts(self, model: str) -> str:
        """What all gateways count together."""
        return f"{self.model(model)}counts"

    def reserved(self, model: str) -> str:
        """The worker that is kept free for a job which does not fit."""
        return f"{self.model(model)}reserved"

    def wake(self, model: str) -> str:
        """Tokens that wake a model's workers with room, for each job of a person."""
        return f"{self.model(model)}wake"

    def wake_batch(self, model: str) -> str:
        """Those for each job of a batch."""
        return f"{self.model(model)}wake-batch"

    @property
    def workers(self) -> str:
        """Live workers."""
        return f"{self.prefix}:{{directory}}:workers"

    @property
    def cards(self) -> str:
        """What each worker serves."""
        return f"{self.prefix}:{{directory}}:cards"

    @property
    def models(self) -> str:
        """Models that were ever served, and when last."""
        return f"{self.prefix}:{{directory}}:models"

    @property
    def adapters(self) -> str:
        """LoRA adapters that are to be loaded."""
        return f"{self.prefix}:{{directory}}:adapters"

    @property
    def aliases(self) -> str:
        """Other names of models and adapters."""
        return f"{self.prefix}:{{directory}}:aliases"

    @property
    def log_levels(self) -> str:
        """How much each part is to log."""
        return f"{self.prefix}:{{directory}}:log-levels"

    def prompts(self, digest: str) -> str:
        """A model's tokenizer and chat templates."""
        return f"{self.prefix}:{{directory}}:prompts:{digest}"

    def gateway(self, gateway_id: str) -> str:
        """Channel of a gateway."""
        return f"{self.prefix}:gateway:{gateway_id}"

    def worker(self, worker_id: str) -> str:
        """Channel of a worker."""
        return f"{self.prefix}:worker:{worker_id}"
