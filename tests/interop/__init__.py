"""Round trips with the real tools of other stores."""
