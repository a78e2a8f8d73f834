export DIB_APT_SOURCES=$TMP_HOOKS_PATH/check-apt-sources.list
