"""Pure functions of outputs: how right, how sure, and how well strangers are told apart.

Where a number is not defined, a single metric of no images at all is NaN, and an entry of a table (the recall of a
class without test images, the precision of a class never predicted) is None.
"""
