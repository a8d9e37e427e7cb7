"""Getting better: examples, losses, LoRA, the trainer, and what comes out of it. Needs the extra `train`."""
