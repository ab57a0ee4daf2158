"""The HTTP gateway: stateless, any number of replicas; knows Redis and never a worker's address."""
