# shellcheck shell=bash
export DIB_GROWVOLS_TRIGGER=systemd
export DIB_GROWVOLS_ARGS='/var=60% /home=20GiB'
export DIB_GROWVOLS_GROUP=vg
