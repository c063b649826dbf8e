"""Questions a user types: `compare` (with label curves), `folds`, `rank`, `limits`, `labels`, `lab`, `soup`, `tune`."""
