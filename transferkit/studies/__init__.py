"""The questions a user types: `compare` (label curves too), `rank`, `limits`, `labels`, `lab`."""
