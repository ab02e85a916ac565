#!/bin/bash
# Tries the documented installation in a clean root of Debian: build, engine environment, bring-up, a command.
#
#   sudo tools/try_install.sh ROOT SUITE [PREFIX [PACKAGE...]]
#
# ROOT: a folder, filled with the Debian SUITE (bookworm, trixie, ...) by mmdebstrap where it is empty. PREFIX: a CPython of
# this machine that stands in for the root's own, with the PACKAGEs that its distribution would have, such as
#
#   tools/try_install.sh /srv/noble trixie ~/.pyenv/versions/3.12.1 numpy==1.26.4 opencv-python-headless==4.6.0.66 pillow==10.2.0
#
# The wheels of requirements/ros.txt stand in for apt's ROS 2. Needs mmdebstrap, root, the network, and takes minutes.
# What it changes is below ROOT; mounts and processes end with it (namespaces).
set -euo pipefail

root=$1 suite=$2 prefix=${3:-}
shift $(($# < 3 ? $# : 3))
source=$(cd "$(dirname "$0")/.." && pwd)
# What `rosdep install` and the instructions name, and what colcon builds messages with. No python3-pip on purpose.
packages=ca-certificates,cmake,g++,make,ninja-build,python3,python3-dev,python3-numpy,python3-opencv,python3-venv,python3-yaml

if [ ! -e "$root/usr" ]; then
    mkdir -p "$root"
    mmdebstrap --variant=minbase --include="$packages" "$suite" "$root"
fi

rm -rf "$root/src"
mkdir -p "$root/src"
git -C "$source" ls-files -z --cached --others --exclude-standard |
    tar -C "$source" --null --files-from=- --create | tar -C "$root/src" --extract
cp /etc/resolv.conf "$root/etc/resolv.conf"
if [ -f "${PIP_CERT:-}" ]; then  # the certificate of a proxy that stands before pip's index
    cp "$PIP_CERT" "$root/etc/pip-cert.pem"
    printf '[global]\ncert = /etc/pip-cert.pem\n' > "$root/etc/pip.conf"
fi
python=/usr/bin/python3
if [ -n "$prefix" ]; then
    version=$("$prefix/bin/python3" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    rm -rf "$root$prefix"
    mkdir -p "$root$prefix"
    cp -a "$prefix/." "$root$prefix"
    chmod go+rx "$root/$(cut -d/ -f2 <<< "$prefix")"
    python=$prefix/bin/python$version
fi

# shellcheck disable=SC2016
exec unshare --mount --pid --ipc --fork --kill-child bash -c '
    root=$1 python=$2
    shift 2
    mount --make-rprivate /
    mount --rbind /dev "$root/dev"
    mount -t tmpfs tmpfs "$root/dev/shm"
    mount -t proc proc "$root/proc"
    chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LANG=C.UTF-8 HOME=/root \
        /usr/bin/python3 /src/tools/try_install.py "$python" "$@"
' try_install "$root" "$python" "$@"
