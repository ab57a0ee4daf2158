"""What Redis says of itself is the store's one error; what it says of a command is a fault of ours."""

from __future__ import annotations

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ResponseError

from tessera.errors import MediaStoreUnavailable
from tessera.media.store_errors import store_errors

# As Redis says it, and as Redis 6.2 says it of a command in a script.
SAID = "{}", "ERR Error running script (call to f_0): @user_script:7: @user_script: 7: -{}"


@pytest.mark.parametrize("said", SAID, ids=["itself", "in a script"])
@pytest.mark.parametrize(
    "words",
    [
        "READONLY You can't write against a read only replica.",
        "CLUSTERDOWN The cluster is down",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "TRYAGAIN Multiple keys request during rehashing of slot",
        "LOADING Redis is loading the dataset in memory",
        "MISCONF Redis is configured to save RDB snapshots, but it is currently not able to persist on disk.",
        "NOREPLICAS Not enough good replicas to write.",
        "BUSY Redis is busy running a script.",
    ],
    ids=lambda words: words.split()[0],
)
def test_a_redis_that_cannot_at_the_moment_is_unavailable(words, said):
    with pytest.raises(MediaStoreUnavailable), store_errors():
        raise BaseParser.parse_error(said.format(words))


@pytest.mark.parametrize(
    "words", ["ERR unknown command", "WRONGTYPE Operation against a key", "OOM command not allowed"]
)
def test_other_errors_stay_what_they_are(words):
    with pytest.raises(ResponseError), store_errors():
        raise BaseParser.parse_error(words)
