export DIB_APT_CONF=$TMP_HOOKS_PATH/check-apt-conf.conf
