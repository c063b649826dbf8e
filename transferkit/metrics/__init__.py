"""Pure functions of outputs: how right, how sure, and how well strangers are told apart."""
