# @summary Brings the data volume to where MariaDB looks for it. The volume is attached at a neutral
# path; a mount unit binds it, and MariaDB does not start without it.
class profile::db::data {
  $volume = $facts['hallmark']['volumes']['data']

  file { "${volume}/mysql":
    ensure => directory,
    owner  => 'mysql',
    group  => 'mysql',
    mode   => '0755',
  }

  file { '/var/lib/mysql':
    ensure => directory,
  }

  file { '/etc/systemd/system/var-lib-mysql.mount':
    ensure  => file,
    mode    => '0644',
    content => epp('profile/mysql.mount.epp', { 'volume' => $volume }),
  }

  file { '/etc/systemd/system/mariadb.service.d':
    ensure => directory,
    mode   => '0755',
  }

  file { '/etc/systemd/system/mariadb.service.d/data.conf':
    ensure  => file,
    mode    => '0644',
    content => "# Managed by Puppet (profile::db::data).\n[Unit]\nRequires=var-lib-mysql.mount\nAfter=var-lib-mysql.mount\n",
  }

  service { 'var-lib-mysql.mount':
    ensure  => running,
    enable  => true,
    require => File["${volume}/mysql", '/var/lib/mysql', '/etc/systemd/system/var-lib-mysql.mount',
    '/etc/systemd/system/mariadb.service.d/data.conf'],
  }
}
