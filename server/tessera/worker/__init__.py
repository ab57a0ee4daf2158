"""The worker: a vLLM engine under Ray Serve that leases jobs and answers them. Needs the ``cpu`` or ``gpu`` extra."""
