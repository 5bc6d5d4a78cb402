"""Floor 1: files, folders, processes and settings. Must not know models or tools."""
