"""The queue between gateways and workers, in Redis: jobs, leases, reply logs, and who serves what."""

from tessera.queue.adapters import Adapter, Adapters, AdaptersFull
from tessera.queue.address import Address
from tessera.queue.aliases import Alias, Aliases, AliasesFull
from tessera.queue.broker import Broker
from tessera.queue.census import Census
from tessera.queue.channel import listen
from tessera.queue.connection import REDIS_UNAVAILABLE, connect, infos, reach
from tessera.queue.dead_letters import DeadLetter, DeadLetters, Death
from tessera.queue.directory import Directory, ModelCard, ServedModel
from tessera.queue.entry import Data, End, Entry, Failure, Head, decode
from tessera.queue.explanation import Explanation, Explanations, Happening, token_counts
from tessera.queue.job import (
    ITEM_COUNT_PATH,
    SPEECH_PATHS,
    Job,
    JobName,
    Lease,
    Leases,
    Lost,
    Named,
    PartTokens,
    new_job_id,
    spellings_of,
)
from tessera.queue.log import Append, Part, Place, Unwritten
from tessera.queue.log_levels import LOG_PARTS, FollowedLogLevel, LogLevels, LogPart
from tessera.queue.once import Once
from tessera.queue.prompt_store import PromptStore
from tessera.queue.reaped import Reaped
from tessera.queue.record import Record, Records
from tessera.queue.replies import ReplyHub
from tessera.queue.reply_logs import ReplyLogs
from tessera.queue.scripts import Script
from tessera.queue.stream import ReplyStream
from tessera.queue.wakeup import Wakeup

__all__ = [
    "ITEM_COUNT_PATH",
    "LOG_PARTS",
    "REDIS_UNAVAILABLE",
    "SPEECH_PATHS",
    "Adapter",
    "Adapters",
    "AdaptersFull",
    "Address",
    "Alias",
    "Aliases",
    "AliasesFull",
    "Append",
    "Broker",
    "Census",
    "Data",
    "DeadLetter",
    "DeadLetters",
    "Death",
    "Directory",
    "End",
    "Entry",
    "Explanation",
    "Explanations",
    "Failure",
    "FollowedLogLevel",
    "Happening",
    "Head",
    "Job",
    "JobName",
    "Lease",
    "Leases",
    "LogLevels",
    "LogPart",
    "Lost",
    "ModelCard",
    "Named",
    "Once",
    "Part",
    "PartTokens",
    "Place",
    "PromptStore",
    "Reaped",
    "Record",
    "Records",
    "ReplyHub",
    "ReplyLogs",
    "ReplyStream",
    "Script",
    "ServedModel",
    "Unwritten",
    "Wakeup",
    "connect",
    "decode",
    "infos",
    "listen",
    "new_job_id",
    "reach",
    "spellings_of",
    "token_counts",
]
