"""A trained model as two files in a folder: `model.json` rebuilds the network, `model.safetensors` has its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from tunefleet.errors import TunefleetError
from tunefleet.model import Model, problems_of
from tunefleet_worker.tasks.datasets.parts import DataChoice, Standardisation
from tunefleet_worker.tasks.models import ModelConfig, build_model

DESCRIPTION, WEIGHTS = "model.json", "model.safetensors"


class SavedModelError(TunefleetError):
    """A folder holds no model, or an unreadable one."""

    code = "saved_model"


class SavedModel(Model):
    """The description of a trained network, and of the data that it was trained and evaluated on."""

    format: Literal["tunefleet.model/1"] = "tunefleet.model/1"
    task: str
    model: ModelConfig
    data: DataChoice
    classes: tuple[str, ...]
    standardisation: Standardisation

    def write(self, folder: Path) -> Path:
        """Write `model.json` into the folder and return its path."""
        path = folder / DESCRIPTION
        path.write_text(self.model_dump_json(by_alias=True, indent=2) + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read the description in a folder.

        Raises:
            SavedModelError: it is missing or invalid.
        """
        path = folder / DESCRIPTION
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise SavedModelError(f"{folder} holds no model: {path.name} cannot be read ({error.strerror}).") from error
        except ValidationError as error:
            problems = "; ".join(str(problem) for problem in problems_of(error))
            raise SavedModelError(f"{path} does not describe a model: {problems}.") from error

    def load(self, folder: Path) -> nn.Module:
        """Return the network with the weights in the folder, on the CPU, in evaluation mode.

        Raises:
            SavedModelError: the weights are missing, corrupt, or belong to another network.
        """
        path = folder / WEIGHTS
        network = build_model(self.model)
        try:
            network.load_state_dict(load_file(path))
        except OSError as error:
            raise SavedModelError(f"{folder} holds no weights: {path.name} cannot be read ({error}).") from error
        except (SafetensorError, RuntimeError) as error:
            raise SavedModelError(f"{path} does not hold the weights of the model in {DESCRIPTION}: {error}") from error
        return network.eval()
