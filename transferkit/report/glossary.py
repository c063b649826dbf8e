"""The field's terms in plain words: pages explain each where it first appears, and docs/glossary.md lists them all."""

from __future__ import annotations

GLOSSARY: dict[str, str] = {
    # networks and training
    "backbone": "The part of a network that turns an image into features; the head turns features into classes.",
    "head": "The last layer, which turns features into one score for each class.",
    "features": "The numbers that a network gives for an image just before its head: 512 of them in a ResNet-18.",
    "pretrained": "Trained on other images before, usually on ImageNet: a million photographs of 1,000 classes.",
    "probe": "A linear classifier on the features of a frozen network. Cheap, and hard to beat with few labels.",
    "fine-tuning": "Training a pretrained network further on your own images, not only its head.",
    "LP-FT": "Fine-tuning that starts from a probe's head instead of a random one (Kumar et al. 2022).",
    "scratch": "Training from random weights, as if there were no pretrained ones.",
    "frozen": "Not changed by training: neither weights nor BatchNorm statistics.",
    "BatchNorm": "A layer that brings each channel to mean 0 and deviation 1: by the batch in train mode, by running "
    "statistics in evaluation mode.",
    "dropout": "Setting random activations to zero in training, so that no neuron relies on a single other one.",
    "logit": "A class's score before softmax turns all of them into probabilities.",
    "epoch": "One pass over all training images.",
    "moving average": "Weights averaged over the last steps of training; often a little better than the last ones.",
    "receptive field": "The square of the input that one number of a layer can see, in pixels.",
    "GFLOPs": "A thousand million operations; here per image, two for each multiply-add.",
    "augmentation": "Changing training images at random (mirrored, cropped, recoloured), so there seem to be more.",
    # parts of the data
    "train": "The images that weights are learnt from.",
    "val": "Images set aside to choose settings and thresholds by; they are not learnt from while anything is chosen.",
    "test set": "Images opened once, at the very end, after everything was chosen.",
    "held-out": "Kept away from what was learnt or chosen, so that it can judge it.",
    "cross-validated": "Judged in turns: each part of the images by a model that learnt from the other parts.",
    "arm": "One of the things that are compared: a backbone with a method, such as resnet18 fine-tuned.",
    "seed": "The number that all random choices of a run follow from; the same seed makes the same run.",
    # how right
    "recall": "Of the images of a class, the share that is predicted as it.",
    "precision": "Of the images predicted as a class, the share that belongs to it.",
    "F1": "The harmonic mean of precision and recall.",
    "balanced accuracy": "The mean recall of all classes, in which a rare class counts as much as a common one.",
    "error slice": "A group of alike images that a network is shown to answer worse than all others.",
    "confusion matrix": "How often each true class (row) was predicted as each class (column).",
    "95 % interval": "A range from a method whose ranges hold the true value 95 times in 100.",
    "Wilson": "An interval for a share of images that stays between 0 and 100 % (Wilson 1927).",
    "bootstrap": "An interval from drawing the test images again and again, with replacement.",
    "McNemar": "A test for two models on the same images, by those that only one of them gets right.",
    "Holm": "Makes p-values larger when many differences are tested, so that chance finds nothing (Holm 1979).",
    "LogME": "How well features explain the labels, without any training (You et al. 2021); higher is better.",
    "kNN": "Goes by the nearest training images in the space of features: their classes vote, or their distance says "
    "how unusual an image is.",
    # how sure
    "confidence": "The probability of the predicted class.",
    "ECE": "Expected calibration error: how far confidence and accuracy differ, on average over 15 bins of confidence.",
    "calibrated": "Of the answers given with 80 % confidence, 80 % are right; and so for every confidence.",
    "temperature": "The number by which logits are divided, so that confidences become honest; chosen on val.",
    "NLL": "Negative log-likelihood: minus the logarithm of the probability given to the true class, on average.",
    "Brier": "Squared distance between the probabilities and the truth, on average; 0 is best, 2 worst.",
    "AURC": "Area under the curve of error rate over the share of images answered; lower is better.",
    "AUGRC": "As AURC, but counts the errors among all images: the chance of an error that nothing stops.",
    "coverage": "The share of images that get an answer.",
    "conformal": "Gives a set of classes that holds the true one in 90 % of cases, if new ones are like those of val.",
    # what it does not know
    "unknown": "Of none of the classes that were learnt. `predict` answers “unknown” where an image is more unusual "
    "than 95 % of those that the model knows.",
    "AUROC": "The chance that an unknown image looks more unusual than a known one: 0.5 is guessing, 1 perfect.",
    "FPR95": "The share of unknown images that are accepted when 95 % of the known ones are.",
    "detector": "A rule that gives every image a number, larger for images unlike those that the model was trained on.",
    "msp": "A detector: how small the largest softmax probability is (Hendrycks and Gimpel 2017).",
    "maxlogit": "A detector: how small the largest logit is (Hendrycks et al. 2022).",
    "energy": "A detector: how small all logits are together, as minus the log of their summed exponentials "
    "(Liu et al. 2020).",
    "gen": "A detector: a kind of entropy that notices small probabilities (Liu, Lochman and Zach 2023).",
    "mds": "A detector: the Mahalanobis distance to the nearest class mean; steps count less where classes vary anyway "
    "(Lee et al. 2018).",
    "rmds": "A detector: mds minus the distance to all training images together (Ren et al. 2021).",
    "mds++": "A detector: mds with every feature vector at length 1 (Mueller and Hein 2025).",
    "rmds++": "A detector: rmds with every feature vector at length 1 (Mueller and Hein 2025).",
    "vim": "A detector: how far features leave the directions in which training images vary most, set against the "
    "logits (Wang et al. 2022).",
    "ensemble-rank": "A detector: the mean rank of an image among val by msp, kNN and vim.",
    "near": "Of unknown classes: they resemble the known ones, so telling them apart is hard.",
    "far": "Of unknown classes: they have little in common with the known ones.",
    "severity": "How strong a corruption is, from 1 to 5, as in ImageNet-C (Hendrycks and Dietterich 2019).",
    "silent failure": "An answer that is wrong and accepted all the same.",
    "ATC": "An estimate of accuracy on images without labels, by the share above a confidence (Garg et al. 2022).",
    "DoC": "An estimate of accuracy on images without labels, by the drop in mean confidence (Guillory et al. 2021).",
    # pictures
    "Grad-CAM": "A map of the regions that supported the prediction (Selvaraju et al. 2017).",
    "t-SNE": "A flat map of features that keeps neighbours together; distances between groups mean nothing.",
    "cosine": "How far two feature vectors point the same way: 1 is the same direction, 0 unrelated.",
}

NOT_MARKED = frozenset({"energy", "far", "gen", "near", "precision", "train"})  # on pages these are everyday words, too


def marked_terms() -> dict[str, str]:
    """What pages explain where it first appears in a section, by page.js; the longest terms first."""
    terms = sorted(GLOSSARY.keys() - NOT_MARKED, key=lambda term: (-len(term), term))
    return {term: GLOSSARY[term] for term in terms}
