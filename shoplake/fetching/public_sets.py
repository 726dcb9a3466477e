"""Public sets from where they are kept, by the client of that place."""

from collections.abc import Mapping
from pathlib import Path

from shoplake.errors import ConfigError, SourceError
from shoplake.fetching.definitions import PublicSet

# Kaggle's token, in its new form or its old one.
TOKENS = (("KAGGLE_API_TOKEN",), ("KAGGLE_USERNAME", "KAGGLE_KEY"))


def download(name: str, wanted: PublicSet, folder: Path, environment: Mapping[str, str]) -> Path:
    """Download a set's archive into the folder; give the file.

    The client reads the token from the process's own environment, so none is written to a file.

    Raises:
        ConfigError: the client is not installed, or there is no token.
        SourceError: the download failed.
    """
    by_hand = (f"Or download https://www.kaggle.com/datasets/{wanted.dataset} by hand, and give the archive: "
               f"python utils/fetch_source.py {name} --file ARCHIVE.zip")
    if not any(all(environment.get(variable) for variable in token) for token in TOKENS):
        names = ", or ".join(" and ".join(token) for token in TOKENS)
        raise ConfigError(f"Kaggle wants a token in the environment: {names}. {by_hand}")
    try:
        from kaggle.api.kaggle_api_extended import KaggleApi
    except ImportError as error:
        raise ConfigError(f"Kaggle's client is not installed: pip install 'shoplake[kaggle]'. {by_hand}") from error
    folder.mkdir(parents=True, exist_ok=True)
    try:
        client = KaggleApi()
        client.authenticate()
        client.dataset_download_files(wanted.dataset, path=str(folder), quiet=True, unzip=False)
    except (Exception, SystemExit) as error:  # its errors have no class in common, and without a right token it exits
        raise SourceError(f"Kaggle did not give {wanted.dataset}: {type(error).__name__}: {str(error)[:200]}. {by_hand}"
                          ) from error
    path = folder / f"{wanted.dataset.split('/')[1]}.zip"
    if not path.is_file():
        raise SourceError(f"Kaggle's client ended, but {path} is not there. {by_hand}")
    return path
