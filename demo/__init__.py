"""`make demo`: the main job on the documents of `demo/documents`, watched from a terminal."""
