export DIB_DPKG_MANIFEST=$TMP_HOOKS_PATH/check-apt-preferences.json
