"""Photon OS for cloud-init 20.4, which does not know it: files as on Debian, names and packages as on Photon."""

from cloudinit.distros import debian

from cloudinit import subp, util


class Distro(debian.Distro):
    """As far as a node needs it."""

    def _write_hostname(self, your_hostname, out_fn):
        util.write_file(out_fn, your_hostname + "\n", 0o644)

    def apply_locale(self, locale, out_fn=None):
        """Photon's image has one locale."""

    def install_packages(self, pkglist):
        """Install with tdnf."""
        self.package_command("install", pkgs=pkglist)

    def package_command(self, command, args=None, pkgs=None):
        """Run tdnf."""
        subp.subp(["tdnf", "-y", command, *(args or []), *(pkgs or [])], capture=False)

    def update_package_sources(self):
        """Tdnf looks by itself."""
