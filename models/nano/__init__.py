"""The embedded model: a small Qwen2.5-Omni thinker that sees, hears and watches, and how it is trained."""
