"""One experiment as data: its models, how it is read from YAML, overridden, checked and written back."""

from transferkit.recipe.backbone import (
    BACKBONE_MODELS,
    Backbone,
    BackboneSettings,
    SimpleCnnSettings,
    backbone_settings,
)
from transferkit.recipe.data import (
    DATA_MODELS,
    ArraysData,
    Cifar10Data,
    Cifar100Data,
    Data,
    DataSettings,
    DigitsData,
    FolderData,
    GlyphsData,
    OwnData,
    ShapesData,
    ShardsData,
    SvhnData,
    expanded_data,
)
from transferkit.recipe.experiment import Recipe, parse, parse_data
from transferkit.recipe.files import Document, load, parse_any, schema
from transferkit.recipe.method import (
    METHOD_MODELS,
    FinetuneSettings,
    Method,
    MethodSettings,
    ProbeSettings,
    ScratchSettings,
    TrainingSettings,
    of_method,
)
from transferkit.recipe.mistakes import checked
from transferkit.recipe.options import from_options, ranking_from_options, tuning_from_options, weighted
from transferkit.recipe.overrides import merged, overridden
from transferkit.recipe.ranking import RankingRecipe, parse_ranking
from transferkit.recipe.settings import RecipePart
from transferkit.recipe.study import Labels, Study, parse_study
from transferkit.recipe.tuning import DEFAULT, TuningRecipe, parse_tuning, points_of, read_space
from transferkit.recipe.workplace import anywhere
from transferkit.recipe.yaml_text import parse_yaml

__all__ = [
    "BACKBONE_MODELS",
    "DATA_MODELS",
    "DEFAULT",
    "METHOD_MODELS",
    "ArraysData",
    "Backbone",
    "BackboneSettings",
    "Cifar10Data",
    "Cifar100Data",
    "Data",
    "DataSettings",
    "DigitsData",
    "Document",
    "FinetuneSettings",
    "FolderData",
    "GlyphsData",
    "Labels",
    "Method",
    "MethodSettings",
    "OwnData",
    "ProbeSettings",
    "RankingRecipe",
    "Recipe",
    "RecipePart",
    "ScratchSettings",
    "ShapesData",
    "ShardsData",
    "SimpleCnnSettings",
    "Study",
    "SvhnData",
    "TrainingSettings",
    "TuningRecipe",
    "anywhere",
    "backbone_settings",
    "checked",
    "expanded_data",
    "from_options",
    "load",
    "merged",
    "of_method",
    "overridden",
    "parse",
    "parse_any",
    "parse_data",
    "parse_ranking",
    "parse_study",
    "parse_tuning",
    "parse_yaml",
    "points_of",
    "ranking_from_options",
    "read_space",
    "schema",
    "tuning_from_options",
    "weighted",
]
