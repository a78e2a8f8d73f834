# shellcheck shell=bash
export CHECK_SOURCES=$TMP_BUILD_DIR/check-source-repositories
export DIB_REPOREF_check_review=refs/changes/01/1/2
export DIB_REPOLOCATION_check_moved=file://$CHECK_SOURCES/git
export DIB_INSTALLTYPE_check_package=package
