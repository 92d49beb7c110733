"""The web side: receive, decide, write (design.md §2). Never waits for a vendor but the `Verifier`."""
