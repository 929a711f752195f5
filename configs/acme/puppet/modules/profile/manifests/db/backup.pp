# @summary A dump of every database each night.
# @param keep_days how long dumps are kept
class profile::db::backup (
  Integer[1] $keep_days = 7,
) {
  file { '/var/backups/mysql':
    ensure => directory,
    owner  => 'root',
    group  => 'root',
    mode   => '0700',
  }

  file { '/usr/local/sbin/acme-backup':
    ensure  => file,
    mode    => '0755',
    content => epp('profile/backup.sh.epp', { 'keep_days' => $keep_days }),
  }

  cron { 'acme-backup':
    command => '/usr/local/sbin/acme-backup',
    user    => 'root',
    hour    => 2,
    minute  => 15,
    require => File['/usr/local/sbin/acme-backup', '/var/backups/mysql'],
  }
}
