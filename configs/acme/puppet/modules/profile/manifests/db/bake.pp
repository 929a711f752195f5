# @summary MariaDB in an image: the package alone. No data, and no daemon that would make some
# before the volume is there.
class profile::db::bake {
  package { ['mariadb-server', 'mariadb-client']:
    ensure          => installed,
    install_options => ['--no-install-recommends'],
  }

  -> service { 'mariadb':
    ensure => stopped,
    enable => false,
  }

  -> exec { 'no data in the image':
    command  => '/usr/bin/find /var/lib/mysql -mindepth 1 -delete',
    onlyif   => '/usr/bin/find /var/lib/mysql -mindepth 1 | /bin/grep -q .',
    provider => shell,
  }
}
