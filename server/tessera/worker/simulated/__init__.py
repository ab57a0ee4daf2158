"""An engine without a model, for tests, load tests and capacity planning: it needs time and room as one with a model.

The public surface: callers import from here and from nowhere below.
"""

from tessera.worker.simulated.engine import SimulatedEngine
from tessera.worker.simulated.process import run_simulated

__all__ = ["SimulatedEngine", "run_simulated"]
