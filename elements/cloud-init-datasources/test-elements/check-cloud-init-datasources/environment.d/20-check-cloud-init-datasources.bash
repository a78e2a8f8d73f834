# shellcheck shell=bash
# Another element of the build may have chosen already.
export DIB_CLOUD_INIT_DATASOURCES=${DIB_CLOUD_INIT_DATASOURCES:-ConfigDrive, Ec2}
