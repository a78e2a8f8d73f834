export DIB_DEB_UPDATES_CONF=$TMP_HOOKS_PATH/check-autoupdates.conf
