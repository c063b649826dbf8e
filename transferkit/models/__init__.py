"""Networks: the classifier, its backbones, their weights, and the linear heads that are solved on its features."""
