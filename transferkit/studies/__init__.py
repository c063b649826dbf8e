"""The questions a user types: `compare` (label curves too), `folds`, `rank`, `limits`, `labels`, `lab`, `soup`."""
