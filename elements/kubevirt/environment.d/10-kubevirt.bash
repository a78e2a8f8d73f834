# shellcheck shell=bash
# What KubeVirt hands to a machine comes on a disk: nothing asks the network for it.
export DIB_CLOUD_INIT_DATASOURCES=${DIB_CLOUD_INIT_DATASOURCES:-NoCloud, ConfigDrive}
