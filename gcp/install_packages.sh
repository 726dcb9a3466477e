#!/usr/bin/env bash
# Initialization action of the stream's Dataproc cluster (gcp/terraform/dataproc.tf): installs the package and what it
# imports on every machine, from the project's own package repository, with the machine's service account.
set -euo pipefail

metadata=/usr/share/google/get_metadata_value
index=$("$metadata" attributes/shoplake-python-index)
version=$("$metadata" attributes/shoplake-version)
token=$(gcloud auth print-access-token)

# As a variable: an argument would show the token in the list of processes.
PIP_INDEX_URL="https://oauth2accesstoken:${token}@${index}" \
  /opt/conda/default/bin/python -m pip install "shoplake[cloud]==${version}"
