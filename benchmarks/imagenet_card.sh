#!/usr/bin/env bash
# Probe and fine-tune AlexNet, VGG-16-BN, ResNet-18 and ResNet-50 by their recipes, with torchvision's ImageNet weights on
# the original CIFAR-10, and print a table beside the published ranges. Finished runs are kept, so it can be stopped.
#
#   benchmarks/imagenet_card.sh [FOLDER] [KEY=VALUE ...]       keys of the recipes, for all of them
#   WEIGHTS=folder benchmarks/imagenet_card.sh ...             <backbone>.pth in a folder instead of a download
#
# To see that it works, without a network and in minutes: stand-in weights, which are random, on small data.
#   python benchmarks/imagenet_card.py --stand-ins /tmp/weights
#   WEIGHTS=/tmp/weights benchmarks/imagenet_card.sh /tmp/card data.name=digits data.limit_per_class=6 method.size=64
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
folder=${1:-runs/imagenet-card}
for backbone in alexnet vgg16_bn resnet18 resnet50; do
    for method in probe finetune; do
        run="$folder/$method-$backbone"
        [ -f "$run/evaluation.json" ] && continue
        resume=$([ -d "$run" ] && echo --resume || true)
        weights=${WEIGHTS:+backbone.weights=$WEIGHTS/$backbone.pth}
        python -m transferkit run "$method-$backbone" --out "$run" $resume ${weights:+"$weights"} "${@:2}"
    done
done
python "$here/imagenet_card.py" "$folder"
