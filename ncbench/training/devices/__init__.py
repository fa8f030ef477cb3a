"""One run on several devices: a process each, the batch whole, the backbones' rows shared out."""
