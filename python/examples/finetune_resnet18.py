"""Fine-tunes torchvision's resnet18 in ternary weights, in a loop of one's own.

    python finetune_resnet18.py WEIGHTS.pth TRAIN_DIR VAL_DIR -o resnet18.fgq

WEIGHTS.pth is a state dict of torchvision's resnet18 (none for random weights); the folders hold a folder of images for every
class. Without --labels the network learns to answer as it did in full precision, and needs none.
"""

import argparse
import copy

import torch
import torch.nn.functional as F
import torchvision
from torchvision import transforms

import fgq
import fgq.torch

MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("weights", help="a state dict, or 'none'")
    parser.add_argument("train")
    parser.add_argument("val")
    parser.add_argument("-o", "--output", default="resnet18.fgq")
    parser.add_argument("--group", type=int, default=64)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-5)
    parser.add_argument("--samples", type=int, default=256, help="images that the conversion calibrates on")
    parser.add_argument("--labels", action="store_true")
    return parser.parse_args()


def images(folder, train):
    # Crops that hold nearly all of a picture: what is learned are codes, not the task.
    crop = [transforms.RandomResizedCrop(224, (0.6, 1.0)), transforms.RandomHorizontalFlip()]
    steps = crop if train else [transforms.Resize(256), transforms.CenterCrop(224)]
    normalise = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    return torchvision.datasets.ImageFolder(folder, transforms.Compose(steps + normalise))


def network(weights, classes):
    module = torchvision.models.resnet18(num_classes=classes)
    if weights != "none":
        module.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return module.eval()


def loss_of(logits, wanted, labels, options):
    softened = F.log_softmax(logits / 2, 1), F.log_softmax(wanted / 2, 1)
    loss = 4 * F.kl_div(*softened, log_target=True, reduction="batchmean")
    return loss + F.cross_entropy(logits, labels) if options.labels else loss


def main():
    options = arguments()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    data = images(options.train, train=True)
    module = network(options.weights, len(data.classes))
    teacher = copy.deepcopy(module).to(device)

    before = fgq.torch.prepare(
        module, options.train, preprocess="imagenet", group=options.group, samples=options.samples
    )
    print("converted:", before)
    module.to(device)
    optimiser = torch.optim.AdamW(module.parameters(), options.rate, weight_decay=0)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, options.epochs)
    for epoch in range(options.epochs):
        total = 0.0
        for batch, labels in torch.utils.data.DataLoader(data, options.batch, shuffle=True):
            with torch.no_grad():
                wanted = teacher(batch.to(device))
            loss = loss_of(module(batch.to(device)), wanted, labels.to(device), options)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.item() * len(batch)
        schedule.step()
        print(f"epoch {epoch + 1}: loss {total / len(data):.4f}")

    model = fgq.torch.pack(module.cpu())
    model.save(options.output)
    val = images(options.val, train=False)
    for name, packed in [("converted", before), ("tuned", model)]:
        result = fgq.evaluate(packed, torch.utils.data.DataLoader(val, options.batch))
        print(f"{name}: top-1 {result['top1']:.1f}% of {result['images']} images, {packed.size:,} bytes")


if __name__ == "__main__":
    main()
