"""Published recipes for training, with their sources.

Values are those of the source, under the names of the built-in tasks if these have the parameter. `batch_size` is the
sum over all devices. `also` has everything that no parameter expresses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pydantic import JsonValue

from tunefleet.errors import NotFound
from tunefleet.model import did_you_mean


@dataclass(frozen=True, slots=True)
class Recipe:
    """A published way to train.

    Attributes:
        name: the name in `search.start_from`, at most 24 characters.
        purpose: the models and data that it was made for.
        params: values by parameter.
        also: other parts of the recipe.
        source: its authors, and the place of publication.
    """

    name: str
    purpose: str
    params: Mapping[str, JsonValue]
    also: str
    source: str


_ALL = (
    Recipe(
        "resnet-imagenet",
        purpose="Residual networks on ImageNet, from scratch",
        params={
            "optimizer": "sgd",
            "lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "batch_size": 256,
            "normalization": "batch",
            "dropout": 0.0,
        },
        also="The rate is divided by 10 when the error reaches a plateau; up to 600,000 updates. Pictures: short side "
        "drawn from 256 to 480, crops of 224, flips, colour augmentation. Tested on ten crops and several scales.",
        source="He, Zhang, Ren and Sun 2015, section 3.4, https://arxiv.org/abs/1512.03385",
    ),
    Recipe(
        "resnet-cifar",
        purpose="Residual networks on pictures of 32 x 32 pixels, from scratch",
        params={
            "optimizer": "sgd",
            "lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 1e-4,
            "batch_size": 128,
            "normalization": "batch",
            "dropout": 0.0,
        },
        also="The rate is divided by 10 after 32,000 and 48,000 of 64,000 updates. Crops padded by 4 pixels, flips.",
        source="He, Zhang, Ren and Sun 2015, section 4.2, https://arxiv.org/abs/1512.03385",
    ),
    Recipe(
        "wide-resnet-cifar",
        purpose="Wide residual networks on pictures of 32 x 32 pixels",
        params={
            "optimizer": "sgd",
            "lr": 0.1,
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "batch_size": 128,
            "dropout": 0.3,
        },
        also="Nesterov's momentum; the rate times 0.2 after 60, 120 and 160 of 200 epochs.",
        source="Zagoruyko and Komodakis 2016, section 3, https://arxiv.org/abs/1605.07146",
    ),
    Recipe(
        "sgdr",
        purpose="Wide residual networks with warm restarts of the learning rate",
        params={"optimizer": "sgd", "lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4, "batch_size": 128},
        also="Nesterov's momentum; a cosine to 0 with restarts, the first after 10 epochs and each twice as long.",
        source="Loshchilov and Hutter 2017, section 4, https://arxiv.org/abs/1608.03983",
    ),
    Recipe(
        "large-batch-imagenet",
        purpose="ResNet-50 on ImageNet within an hour, on many devices",
        params={"optimizer": "sgd", "lr": 3.2, "momentum": 0.9, "weight_decay": 1e-4, "batch_size": 8192},
        also="The rate grows from 0.1 over the first 5 of 90 epochs, and is divided by 10 after 30, 60 and 80: 0.1 for "
        "each 256 samples of the batch.",
        source="Goyal et al. 2017, section 5.1, https://arxiv.org/abs/1706.02677",
    ),
    Recipe(
        "timm-a1",
        purpose="ResNet-50 on ImageNet as well as it can be trained; 600 epochs",
        params={
            "optimizer": "lamb",
            "lr": 5e-3,
            "weight_decay": 0.01,
            "batch_size": 2048,
            "label_smoothing": 0.1,
            "drop_path": 0.05,
            "mixup": 0.2,
            "cutmix": 1.0,
            "dropout": 0.0,
            "warmup_epochs": 5,
        },
        also="Binary cross-entropy, a cosine, RandAugment 7/0.5, repeated augmentation.",
        source="Wightman, Touvron and Jégou 2021, table 2, https://arxiv.org/abs/2110.00476",
    ),
    Recipe(
        "timm-a2",
        purpose="ResNet-50 on ImageNet, well trained; 300 epochs",
        params={
            "optimizer": "lamb",
            "lr": 5e-3,
            "weight_decay": 0.02,
            "batch_size": 2048,
            "label_smoothing": 0.0,
            "drop_path": 0.05,
            "mixup": 0.1,
            "cutmix": 1.0,
            "dropout": 0.0,
            "warmup_epochs": 5,
        },
        also="Binary cross-entropy, a cosine, RandAugment 7/0.5, repeated augmentation.",
        source="Wightman, Touvron and Jégou 2021, table 2, https://arxiv.org/abs/2110.00476",
    ),
    Recipe(
        "timm-a3",
        purpose="ResNet-50 on ImageNet in 100 epochs, at a resolution of 160",
        params={
            "optimizer": "lamb",
            "lr": 8e-3,
            "weight_decay": 0.02,
            "batch_size": 2048,
            "label_smoothing": 0.0,
            "drop_path": 0.0,
            "mixup": 0.1,
            "cutmix": 1.0,
            "dropout": 0.0,
            "warmup_epochs": 5,
        },
        also="Binary cross-entropy, a cosine, RandAugment 6/0.5.",
        source="Wightman, Touvron and Jégou 2021, table 2, https://arxiv.org/abs/2110.00476",
    ),
    Recipe(
        "torchvision-2021",
        purpose="Residual networks on ImageNet with SGD and what has been found since 2015",
        params={
            "optimizer": "sgd",
            "lr": 0.5,
            "momentum": 0.9,
            "weight_decay": 2e-5,
            "batch_size": 1024,
            "label_smoothing": 0.1,
            "mixup": 0.2,
            "cutmix": 1.0,
            "warmup_epochs": 5,
        },
        also="A cosine over 600 epochs, no decay of normalisations, random erasing, averaged weights.",
        source="Vryniotis 2021, https://pytorch.org/blog/how-to-train-state-of-the-art-models-using-torchvision-latest-primitives/",
    ),
    Recipe(
        "deit",
        purpose="Vision transformers on ImageNet, from scratch",
        params={
            "optimizer": "adamw",
            "lr": 1e-3,
            "weight_decay": 0.05,
            "batch_size": 1024,
            "label_smoothing": 0.1,
            "drop_path": 0.1,
            "mixup": 0.8,
            "cutmix": 1.0,
            "dropout": 0.0,
            "warmup_epochs": 5,
        },
        also="The rate is 5e-4 for each 512 samples of the batch; a cosine over 300 epochs, RandAugment 9/0.5.",
        source="Touvron et al. 2021, table 9, https://arxiv.org/abs/2012.12877",
    ),
    Recipe(
        "adam-defaults",
        purpose="Anything, to begin with",
        params={"optimizer": "adam", "lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.0},
        also="",
        source="Kingma and Ba 2015, algorithm 1, https://arxiv.org/abs/1412.6980",
    ),
    Recipe(
        "adamw-defaults",
        purpose="Anything, to begin with, with weight decay apart from the gradient",
        params={"optimizer": "adamw", "lr": 1e-3, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8, "weight_decay": 0.01},
        also="",
        source="Loshchilov and Hutter 2019, https://arxiv.org/abs/1711.05101; the values are torch.optim.AdamW's",
    ),
    Recipe(
        "karpathy",
        purpose="A first baseline of any network",
        params={"optimizer": "adam", "lr": 3e-4, "weight_decay": 0.0},
        also="A constant rate; no regularisation before the model overfits.",
        source="Karpathy 2019, https://karpathy.github.io/2019/04/25/recipe/",
    ),
    Recipe(
        "bengio-2012",
        purpose="Multilayer networks with plain stochastic gradients and inputs in the unit interval",
        params={"optimizer": "sgd", "lr": 0.01, "momentum": 0.0, "batch_size": 32},
        also="",
        source="Bengio 2012, section 3.1, https://arxiv.org/abs/1206.5533",
    ),
    Recipe(
        "fastai-1cycle",
        purpose="Nearly anything in few epochs",
        params={"optimizer": "adam", "lr": 1e-3, "weight_decay": 0.01, "batch_size": 64},
        also="One cycle of the rate: up for a quarter of the updates from 1/25 of it, then down to 1e-5 of it, with "
        "the momentum from 0.95 to 0.85 and back (Smith 2018, https://arxiv.org/abs/1803.09820).",
        source="Howard and Gugger 2020, https://arxiv.org/abs/2002.04688",
    ),
    Recipe(
        "transformer-base",
        purpose="Transformers for translation, from scratch",
        params={
            "optimizer": "adam",
            "lr": 7e-4,
            "beta1": 0.9,
            "beta2": 0.98,
            "eps": 1e-9,
            "dropout": 0.1,
            "label_smoothing": 0.1,
        },
        also="The rate grows over 4,000 updates, 7e-4 being its peak for 512 units, and falls with their root.",
        source="Vaswani et al. 2017, section 5, https://arxiv.org/abs/1706.03762",
    ),
    Recipe(
        "bert-fine-tuning",
        purpose="Fine-tuning a pre-trained language model",
        params={"optimizer": "adamw", "lr": 3e-5, "batch_size": 32, "dropout": 0.1, "weight_decay": 0.01},
        also="2 to 4 epochs; the source tries rates of 5e-5, 3e-5 and 2e-5 and batches of 16 and 32.",
        source="Devlin et al. 2019, appendix A.3, https://arxiv.org/abs/1810.04805",
    ),
    Recipe(
        "gpt-3-small",
        purpose="Language models of about 125 million parameters, from scratch",
        params={
            "optimizer": "adamw",
            "lr": 6e-4,
            "beta1": 0.9,
            "beta2": 0.95,
            "eps": 1e-8,
            "weight_decay": 0.1,
            "grad_clip": 1.0,
        },
        also="Batches of 0.5 million tokens; a linear warm-up, then a cosine to a tenth.",
        source="Brown et al. 2020, table 2.1 and appendix B, https://arxiv.org/abs/2005.14165",
    ),
    Recipe(
        "ft-transformer",
        purpose="Transformers on tables of numbers and categories",
        params={"optimizer": "adamw", "lr": 1e-4, "weight_decay": 1e-5},
        also="No decay of biases, normalisations and the feature tokenizer.",
        source="Gorishniy et al. 2021, https://arxiv.org/abs/2106.11959",
    ),
    Recipe(
        "muon",
        purpose="The hidden matrices of a network; its other parameters belong to adamw",
        params={"optimizer": "muon", "lr": 0.02, "momentum": 0.95},
        also="Nesterov's momentum, five steps of Newton and Schulz; 3e-4 for adamw.",
        source="Jordan et al. 2024, https://kellerjordan.github.io/posts/muon/",
    ),
)

RECIPES: Mapping[str, Recipe] = MappingProxyType({recipe.name: recipe for recipe in _ALL})
"""All recipes by name."""


def find(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        NotFound: there is none; it says which was probably meant.
    """
    if name not in RECIPES:
        raise NotFound(f"there is no recipe {name!r}{did_you_mean(name, list(RECIPES))}.")
    return RECIPES[name]
