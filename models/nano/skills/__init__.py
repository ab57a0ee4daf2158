"""What the model can be asked: each module makes the examples of some skills."""
