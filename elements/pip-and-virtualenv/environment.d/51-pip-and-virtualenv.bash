export DIB_INSTALLTYPE_pip_and_virtualenv=${DIB_INSTALLTYPE_pip_and_virtualenv:-package}

# dib-python is a link that does not last: what it points at is called.
if [ -d /tmp/in_target.d ] && [ -L /usr/local/bin/dib-python ]; then
    DIB_PYTHON_PIP="$(readlink /usr/local/bin/dib-python) -m pip"
    DIB_PYTHON_VIRTUALENV="$(readlink /usr/local/bin/dib-python) -m venv"
    export DIB_PYTHON_PIP DIB_PYTHON_VIRTUALENV
fi
