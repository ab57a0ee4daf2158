"""Models and media that come with Tessera, built on the spot rather than downloaded."""
