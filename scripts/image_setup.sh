#!/bin/sh
# In the image, after the packages: the folders that a read-only root has mounted, which the service's user writes to.
set -e
mkdir -p /home/bentoml/compiled /home/bentoml/prometheus_multiproc_dir "$BENTO_PATH/src/data" "$BENTO_PATH/src/.feast"
chown -R bentoml:bentoml /home/bentoml
