"""Public sets from where they are kept, by the client of that place."""

from collections.abc import Mapping
from pathlib import Path

from shoplake.errors import ConfigError, SourceError
from shoplake.fetching.definitions import PublicSet

TOKEN = ("KAGGLE_USERNAME", "KAGGLE_KEY")


def download(name: str, wanted: PublicSet, folder: Path, environment: Mapping[str, str]) -> Path:
    """Download a set's archive into the folder; give the file.

    The client reads the token from the process's own environment, so none is written to a file.

    Raises:
        ConfigError: the client is not installed, or there is no token.
        SourceError: the download failed.
    """
    by_hand = (f"Or download https://www.kaggle.com/datasets/{wanted.dataset} by hand, and give the archive: "
               f"python utils/fetch_source.py {name} --file ARCHIVE.zip")
    if missing := [variable for variable in TOKEN if not environment.get(variable)]:
        raise ConfigError(f"Kaggle wants a token, and {', '.join(missing)} is not set. {by_hand}")
    try:
        from kaggle.api.kaggle_api_extended import KaggleApi
    except ImportError as error:
        raise ConfigError(f"Kaggle's client is not installed: pip install 'shoplake[kaggle]'. {by_hand}") from error
    folder.mkdir(parents=True, exist_ok=True)
    try:
        client = KaggleApi()
        client.authenticate()
        client.dataset_download_files(wanted.dataset, path=str(folder), quiet=True, unzip=False)
    except Exception as error:  # its errors have no class in common
        raise SourceError(f"Kaggle did not give {wanted.dataset}: {type(error).__name__}: {str(error)[:200]}. {by_hand}"
                          ) from error
    path = folder / f"{wanted.dataset.split('/')[1]}.zip"
    if not path.is_file():
        raise SourceError(f"Kaggle's client ended, but {path} is not there. {by_hand}")
    return path
