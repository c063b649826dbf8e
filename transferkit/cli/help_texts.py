"""What help pages say besides the options: the sections of the command list, and examples of the commands."""

from __future__ import annotations

SECTIONS: dict[str, tuple[str, ...]] = {  # in this order; the commands of methods stand in METHODS_SECTION unasked
    "Start here": ("quickstart", "doctor", "datasets", "backbones", "recipes", "help"),
    "Train": ("run", "tune", "lr-find", "soup"),
    "Compare": ("compare", "curve", "rank"),
    "Understand": ("limits", "labels", "next", "report", "verify", "replay", "corrupt"),
    "Ship": ("predict", "serve", "export", "benchmark", "card", "extract", "merge"),
    "Teach": ("convolve", "layers", "filters", "modes", "gradient-flow", "shifts", "lab"),
    "Keep house": ("runs", "cache"),
}
METHODS_SECTION = "Train"
OTHERS = "More"  # commands that no section names

_ANY = "RUN is a run's folder; @last is the latest one."
EXAMPLES: dict[str, tuple[tuple[str, str], ...]] = {  # by command: what to type, and what it does
    "": (
        ("quickstart", "A whole study on built-in images: nothing to download."),
        ("finetune resnet18 --data photos", "photos/ holds one folder of images per class."),
        ("predict @last picture.jpg", "What is in a picture, by the latest run."),
    ),
    "finetune": (
        ("finetune resnet18 --data photos", "One folder of images per class."),
        ("finetune resnet50 --data photos --limit-per-class 20", "Few labels."),
        ("finetune timm/convnext_tiny.fb_in1k --data photos --dry-run", "What would it cost?"),
    ),
    "probe": (
        ("probe resnet18 --data photos", "photos/ holds one folder of images per class."),
        ("probe resnet50 --data cifar10 --layers all", "Which layer is best?"),
        ("probe resnet18 --data photos --classifier knn", "By the nearest training images."),
    ),
    "scratch": (
        ("scratch resnet18-cifar --data cifar10", "A ResNet for small images, without pretrained weights."),
        ("scratch simple-cnn --data digits --epochs 5", "A small network, in seconds."),
    ),
    "run": (
        ("run probe-resnet18", "A recipe that comes with transferkit; `transferkit recipes list` shows all."),
        ("run my.yaml method.epochs=3 --dry-run", "One of your own, with one key changed: what would it cost?"),
    ),
    "compare": (
        ("compare resnet18 --data photos", "Training from scratch, a probe and fine-tuning, three seeds each."),
        ("compare resnet18 resnet50 --data photos --methods probe", "Two backbones."),
        ("compare @last @2", "Two finished runs."),
    ),
    "curve": (("curve resnet18 --data photos --labels 5,10,50", "How many labels does each method need?"),),
    "rank": (("rank resnet18 resnet50 vgg16_bn --data photos", "Which backbone suits these images?"),),
    "tune": (("tune resnet18 --data photos --try lr=0.003/0.01/0.03", "Three rates, chosen on val."),),
    "predict": (
        ("predict @last picture.jpg", _ANY),
        ("predict @last photos --out answers.csv", "A whole folder, into a table."),
        ("predict @last photos --sort-into sorted", "Copies, one folder per answer."),
    ),
    "extract": (
        ("extract resnet18 photos --out features.npy", "One row of features per image."),
        ("extract resnet50 photos --layer layer3 --out features.parquet", "Of an inner layer."),
    ),
    "limits": (
        ("limits @last", _ANY),
        ("limits @last --ood other=photos-of-other-things", "Does it say `unknown` to these?"),
    ),
    "export": (("export @last --to onnx", _ANY),),
    "serve": (("serve @last", "Then open http://127.0.0.1:8000."),),
    "report": (
        ("report @last --open", _ANY),
        ("report @last --figure confusion --out confusion.pdf", "One figure, for a paper."),
    ),
    "labels": (("labels @last", _ANY),),
    "runs": (("runs", "The latest first, numbered @last, @2, @3 ..."), ("runs bundle site", "One site of all runs.")),
    "help": (("help finetune", "The same as `transferkit finetune --help`."),),
}
